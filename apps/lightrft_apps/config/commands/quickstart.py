"""The command line of `lightrft quickstart`, and the flags of its run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

PROBLEMS = Path(__file__).parents[2] / "quickstart/problems"

DEFAULTS = {
    "pretrain": "smollm2",
    "bf16": True,
    "prompt_data": str(PROBLEMS / "sums_train.jsonl"),
    "eval_dataset": str(PROBLEMS / "sums_heldout.jsonl"),
    "apply_chat_template": True,
    "system_prompt": "Answer with a number.",
    "rule_reward": "number",
    "init_kl_coef": 0.0,
    "stop_properly_penalty_coef": 0.0,
    "rollout_batch_size": 16,
    "n_samples_per_prompt": 8,
    "generate_max_len": 16,
    "eval_generate_max_len": 64,
    "max_steps": 16,
    "actor_learning_rate": 2e-5,
    "lr_scheduler": "linear",
    "lr_warmup_ratio": 0.0,
    "max_tokens_per_micro_batch": 2048,
    "micro_train_batch_size": 128,
    "output_dir": "runs/quickstart",
}

ABOUT = """\
SmolLM2-135M learns to add a one-digit to a two-digit number, by GRPO alone: no examples, no supervised warm-up.
It takes a few minutes on two CPU cores. Every flag of `lightrft rl` works here too.
"""

KINDS = ("scalar", "generative")
MODALITIES = ("text", "image", "video", "audio", "mixed")

HELP = f"""\
{ABOUT}
With another --modality a tiny model that sees or hears answers riddles about images, videos, sounds or all of them: it
is made, warmed up on a teacher's mistaken answers, and taught by GRPO to do better than its teacher. Or GRPO teaches it
by nothing but a reward model, which learns from comparisons of answers (--reward-model).

  --modality            {{{",".join(MODALITIES)}}}, default: text, with --reward-model image
  --reward-model        the quick start of reward modelling

examples:
  lightrft quickstart
  lightrft quickstart --modality image
  lightrft quickstart --max_steps 4 --output_dir runs/short
  lightrft quickstart --rule_reward null --reward_fn reward.py:score --output_dir runs/mine"""


def unshared(argv: Sequence[str]) -> str:
    """Which quick start these words ask for, if it knows nothing of several processes; "" for that of text."""
    known, _ = asked_for(argv)
    if known.reward_model:
        return "quickstart --reward-model"
    return f"quickstart --modality {known.modality}" if known.modality not in (None, "text") else ""


def asked_for(argv: Sequence[str]) -> tuple[Namespace, list[str]]:
    """Which quick start is asked for, and the words for its runs. Raises SystemExit for a modality there is not."""
    parser = ArgumentParser(prog="lightrft quickstart", add_help=False, allow_abbrev=False)
    parser.add_argument("--modality", choices=MODALITIES)
    parser.add_argument("--reward-model", "--reward_model", nargs="?", choices=KINDS, const=KINDS[0])
    known, others = parser.parse_known_args(argv)
    if known.reward_model and known.modality == "text":
        parser.error(
            "--reward-model is about riddles for eyes and ears: choose --modality image, video, audio or mixed"
        )
    return known, others

"""What the tests of the app share: a tiny model, flags of a short run on it, and the command as a person meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REWARD = """
def score(prompts, responses, labels):
    return [sum(letter in "02468" for letter in response) / max(1, len(response)) for response in responses]
"""


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Path:
    """A folder with a model of random weights that writes one character a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    vocabulary = {token: i for i, token in enumerate(["<end>", "?", *"0123456789+-= "])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="?").save_pretrained(folder)
    tiny_model(vocab_size=len(vocabulary), eos_token_id=0).save_pretrained(folder)
    return folder


@pytest.fixture
def flags(tiny_folder: Path, tmp_path: Path, known_bandwidth: None) -> dict[str, Any]:
    """Flags of a run of 2 steps, 4 prompts x 2 samples each, into tmp_path/run."""
    prompts, reward = tmp_path / "prompts.jsonl", tmp_path / "reward.py"
    prompts.write_text("".join(json.dumps({"input": f"{i}+{i}=", "label": str(2 * i)}) + "\n" for i in range(8)))
    reward.write_text(REWARD)
    return {
        "pretrain": str(tiny_folder),
        "prompt_data": str(prompts),
        "reward_fn": f"{reward}:score",
        "output_dir": str(tmp_path / "run"),
        "rollout_batch_size": 4,
        "n_samples_per_prompt": 2,
        "generate_max_len": 6,
        "actor_learning_rate": 0.003,
        "lr_warmup_ratio": 0.0,
        "reward_workers": 1,
    }


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def lightrft(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """lightrft("rl", seed=1, ...) -> how `lightrft rl --seed=1 ...` ended."""
    from lightrft_apps.main import main

    def run(*words: str, **flags: Any) -> Ended:
        monkeypatch.setattr("sys.argv", ["lightrft", *words, *(f"--{name}={value}" for name, value in flags.items())])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            assert isinstance(end.code, int)
            code = end.code
        return Ended(code, *capfd.readouterr())

    return run

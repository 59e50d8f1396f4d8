"""`lightrft audit-logprobs` as a person meets it: honest engines pass, lying ones are found out and told why."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

from lightrft_apps.config.audit import Limits
from lightrft_apps.engines import audit
from lightrft_apps.engines import own as engines
from lightrft_apps.engines.audit_report import Scores, causes_in, verdict_of
from lightrft_core import Group, Metrics, Prompt, SamplingParams
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received, SyncError

pytestmark = pytest.mark.usefixtures("one_thread")

Lightrft = Callable[..., Any]
SHORT = {"generate_max_len": 24, "n_samples_per_prompt": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Path:
    """A model that writes one character a token, with heads as wide as vLLM's CPU attention needs them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("audited")
    vocabulary = {token: i for i, token in enumerate(["<end>", "?", "\n", *map(chr, range(32, 63))])}
    vocabulary |= {chr(code): len(vocabulary) + code - 64 for code in range(64, 127)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="?").save_pretrained(folder)
    tiny_model(
        3,
        hidden_size=256,
        vocab_size=len(vocabulary),
        max_position_embeddings=1024,
        initializer_range=0.08,
        tie_word_embeddings=True,
        eos_token_id=0,
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def report(lightrft: Lightrft, folder: Path, tmp_path: Path) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """report(**flags) -> how the command ended, and its audit.json."""

    def run(**flags: Any) -> tuple[Any, dict[str, Any]]:
        ended = lightrft("audit-logprobs", **{"pretrain": folder, "output_dir": tmp_path / "out"} | SHORT | flags)
        return ended, json.loads((tmp_path / "out/audit.json").read_text())

    return run


Told = Callable[[Any, Sequence[Prompt], SamplingParams], list[Group]]


@pytest.fixture
def lie(monkeypatch: pytest.MonkeyPatch) -> Callable[[Told], None]:
    """lie(told): the audit's engine from now on answers told(honest engine, prompts, sampling)."""

    def install(told: Told) -> None:
        honest = engines.open_engine

        class Liar:
            def __init__(self, engine: Any) -> None:
                self.engine = engine

            def load_weights(self, version: int) -> Metrics:
                metrics: Metrics = self.engine.load_weights(version)
                return metrics

            def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
                return told(self.engine, prompts, sampling)

        @contextmanager
        def lying(*arguments: Any, **named: Any) -> Iterator[Any]:
            with honest(*arguments, **named) as engine:
                yield Liar(engine)

        monkeypatch.setattr(audit, "open_engine", lying)

    return install


def changed(change: Callable[[int, float], float]) -> Told:
    """Answers whose log-probabilities are changed: change(position, logprob)."""

    def told(engine: Any, prompts: Sequence[Prompt], sampling: SamplingParams) -> list[Group]:
        groups: list[Group] = engine.generate(prompts, sampling, step=0)
        for group in groups:
            for rollout in group.rollouts:
                rollout.logprobs = [change(i, logprob) for i, logprob in enumerate(rollout.logprobs)]
        return groups

    return told


# Honest engines


@pytest.mark.parametrize("flags", [{}, {"temperature": 0.7}, {"bf16": "true"}, {"gradient_checkpointing": "true"}])
def test_the_embedded_engine_passes(report: Callable[..., Any], flags: dict[str, Any]) -> None:
    ended, found = report(**flags)
    assert (ended.code, found["verdict"], found["advice"]) == (0, "PASS", [])
    assert "PASS: engine and trainer agree" in ended.out
    assert "nothing is handed over" in ended.out
    assert found["receipt"] is None
    assert found["dtype"] == ("bfloat16" if "bf16" in flags else "float32")
    assert (found["prompts"], found["answers"]) == (6, 12)
    numbers = found["numbers"]
    assert numbers["engine/logprob_gap_max"] < (0.5 if "bf16" in flags else 1e-4)
    assert numbers["engine/sequence_gap_max"] >= numbers["engine/sequence_gap_mean"]
    assert numbers["outside_share"] == 0


def test_the_json_says_where_the_gap_is(report: Callable[..., Any]) -> None:
    _, found = report()
    assert sum(part["tokens"] for part in found["by_position"]) == found["tokens"]
    assert [(part["first"], part["last"]) for part in found["by_position"]] == [(1, 8), (9, 16), (17, 24)]
    gaps = [abs(token["trainer"] - token["engine"]) for token in found["worst_tokens"]]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] == found["numbers"]["engine/logprob_gap_max"] == max(p["max"] for p in found["by_position"])
    assert all(len(token["text"]) == 1 or token["text"] == "<end>" for token in found["worst_tokens"])


def test_prompts_of_ones_own_are_read_up_to_max_samples(report: Callable[..., Any], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"{i} + {i} ="}) + "\n" for i in range(20)))
    for flags, prompts in [({}, 16), ({"max_samples": 3}, 3)]:
        ended, found = report(prompt_data=rows, input_key="question", generate_max_len=2, **flags)
        assert (ended.code, found["prompts"]) == (0, prompts)


def test_without_an_output_dir_nothing_is_written(lightrft: Lightrft, folder: Path, tmp_path: Path) -> None:
    assert lightrft("audit-logprobs", pretrain=folder, **SHORT).code == 0
    assert list(tmp_path.iterdir()) == []


def test_vllm_in_process_passes_and_shows_its_receipt(report: Callable[..., Any]) -> None:
    pytest.importorskip("vllm")
    ended, found = report(engine_type="vllm", enforce_eager="true", max_num_seqs=16)
    assert (ended.code, found["verdict"]) == (0, "PASS")
    receipt = found["receipt"]
    assert receipt["bytes"] > 1e6
    assert receipt["tensors"] == 20
    assert receipt["gap_max"] < 1e-4
    assert f"{receipt['tensors']} tensors, {receipt['bytes']} bytes, digest {receipt['digest']}" in ended.out


# Engines that lie


def test_a_little_noise_is_a_warning_and_what_to_train_with(report: Callable[..., Any], lie: Any) -> None:
    rng = random.Random(1)
    lie(changed(lambda _, logprob: logprob + rng.uniform(-0.005, 0.005)))
    ended, found = report()
    assert (ended.code, found["verdict"]) == (0, "WARN")
    assert "--enable_vllm_is_correction" in ended.out
    assert len(found["advice"]) == 1, "noise looks like nothing in particular"


@pytest.mark.parametrize("bf16", ["true", "false"])
def test_much_noise_fails_and_names_what_it_may_be(report: Callable[..., Any], lie: Any, bf16: str) -> None:
    rng = random.Random(1)
    lie(changed(lambda _, logprob: logprob + rng.gauss(0, 1)))
    ended, found = report(bf16=bf16)
    assert (ended.code, found["verdict"]) == (1, "FAIL")
    assert not any(advice.startswith("likely") for advice in found["advice"])
    for words in ("another dtype", "other weights", "--engine_type embedded"):
        assert words in ended.out
    assert found["numbers"]["outside_share"] > 0.3
    assert found["numbers"]["sequence_effective_share"] < 0.8


def test_another_temperature_is_told_by_its_number(report: Callable[..., Any], lie: Any) -> None:
    lie(lambda engine, prompts, law: engine.generate(prompts, replace(law, temperature=1.5), step=0))
    ended, found = report()
    assert (ended.code, found["verdict"]) == (1, "FAIL")
    assert "likely: another temperature: the engine's numbers are those of temperature 1.50" in ended.out


def test_a_law_truncated_in_secret_is_told_by_its_signs(report: Callable[..., Any], lie: Any) -> None:
    lie(lambda engine, prompts, law: engine.generate(prompts, replace(law, top_k=3), step=0))
    ended, found = report()
    assert (ended.code, found["verdict"]) == (1, "FAIL")
    assert "likely: a narrower law" in ended.out


@pytest.mark.parametrize("flags", [{"top_k": 3}, {"top_p": 0.3}, {"logit_bias": '{"5": 9}'}])
def test_a_law_truncated_by_a_flag_names_the_flag(report: Callable[..., Any], flags: dict[str, Any]) -> None:
    ended, found = report(**flags)
    assert (ended.code, found["verdict"]) == (1, "FAIL")
    (name,) = flags
    assert f"likely: --{name} " in ended.out
    assert "--enable_vllm_is_correction" in ended.out


def test_errors_that_grow_along_the_answer_are_told(report: Callable[..., Any], lie: Any) -> None:
    rng = random.Random(1)
    lie(changed(lambda position, logprob: logprob + rng.gauss(0, 0.02 * position)))
    ended, found = report()
    assert found["verdict"] == "FAIL"
    assert "likely: errors that add up" in ended.out


def test_old_weights_fail(report: Callable[..., Any], lie: Any, tiny_model: Callable[..., Any], folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)

    def told(engine: EmbeddedEngine, prompts: Sequence[Prompt], law: SamplingParams) -> list[Group]:
        return EmbeddedEngine(model, engine.decode, eos_token_ids=engine.eos_token_ids, seed=1).generate(
            prompts, law, step=0
        )

    lie(told)
    ended, found = report()
    assert (ended.code, found["verdict"]) == (1, "FAIL")
    assert "it holds other weights than --pretrain" in ended.out


def test_a_hand_over_that_is_refused_fails_and_is_looked_at_all_the_same(
    report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: EmbeddedEngine, version: int) -> Metrics:
        raise SyncError("model.norm.weight never arrived in worker 0")

    monkeypatch.setattr(EmbeddedEngine, "load_weights", refuse)
    ended, found = report()
    assert (ended.code, found["verdict"]) == (1, "FAIL")
    assert "the hand-over of the weights failed" in found["reason"]
    assert found["hand_over_failure"] == "model.norm.weight never arrived in worker 0"
    assert "likely: model.norm.weight never arrived" in ended.out
    assert found["numbers"]["engine/logprob_gap_max"] < 1e-4


def test_vllm_that_keeps_other_weights_is_found_out(
    report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vllm")
    from lightrft_strategy.engines.sync.fingerprint import fingerprint
    from lightrft_strategy.engines.vllm.in_process import VllmInProcess

    honest = VllmInProcess.receive

    def receive(self: VllmInProcess, version: int, tensors: Iterable[Published]) -> list[Received]:
        tensors = list(tensors)
        honest(self, version, [replace(published, tensor=published.tensor * 1.02) for published in tensors])
        return [Received(version, {published.names[0]: fingerprint(published.tensor) for published in tensors})]

    monkeypatch.setattr(VllmInProcess, "receive", receive)
    ended, found = report(engine_type="vllm", enforce_eager="true", max_num_seqs=16)
    assert (ended.code, found["verdict"], found["receipt"]) == (1, "FAIL", None)
    assert "every parameter arrived, yet" in found["hand_over_failure"]
    assert found["numbers"]["engine/logprob_gap_max"] > 1e-2


# Prompts and flags that cannot be


def test_a_prompt_without_answers_is_a_warning(report: Callable[..., Any], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input": text}) + "\n" for text in ("1 + 1", "x" * 1010)))
    ended, found = report(prompt_data=rows)
    assert (ended.code, found["verdict"], found["refused_prompts"]) == (0, "WARN", 1)
    assert "1 of 2 prompts got no answers" in ended.out
    assert "prompt rows.jsonl:2 has 1010 tokens" in ended.err


def test_no_answers_at_all_are_an_error(lightrft: Lightrft, folder: Path, lie: Any) -> None:
    lie(lambda engine, prompts, law: [Group(prompt, [], f"{prompt.uid} is too long") for prompt in prompts])
    ended = lightrft("audit-logprobs", pretrain=folder, **SHORT)
    assert (ended.code, ended.out) == (1, "")
    assert "no prompt got an answer; the first: audit_prompts.jsonl:1 is too long" in ended.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"n_samples_per_prompt": 0}, "--n_samples_per_prompt 0: set it to 1 or more"),
        ({"temperature": 0}, "--temperature 0"),
        ({"prompt_data": "nowhere.jsonl"}, "--prompt_data nowhere.jsonl: there is no such file"),
        ({"pretrain": "./nowhere"}, "--pretrain ./nowhere: there is no such"),
        ({"output_dir": __file__}, "is a file"),
        ({"enforce_eager": "true"}, "--enforce_eager has no effect"),
        ({"engine_tpye": "vllm"}, "did you mean --engine_type?"),
    ],
)
def test_bad_flags_end_with_2_and_what_to_change(
    lightrft: Lightrft, folder: Path, flags: dict[str, Any], words: str
) -> None:
    ended = lightrft("audit-logprobs", **{"pretrain": folder} | flags)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


def test_help_states_the_limits(lightrft: Lightrft) -> None:
    told = lightrft("audit-logprobs", "--help").out
    for words in ("max < 0.0001", "mean < 0.05 and outside < 0.005", "exit code 0", "--enable_vllm_is_correction"):
        assert words in told


# The verdict's parts


def test_numbers_that_are_none_never_pass() -> None:
    assert Limits(mean=1.0).admits(0.5, inf, 0.9) is False
    assert not Limits(largest=1.0).admits(nan, nan, nan)
    numbers = {"engine/logprob_gap_mean": nan, "engine/logprob_gap_max": nan, "outside_share": 0.0}
    assert verdict_of(numbers, "float32", refused="", failure="")[0] == "FAIL"
    assert verdict_of(numbers, "bfloat16", refused="", failure="")[0] == "FAIL"


def test_sums_over_answers_are_by_hand() -> None:
    scores = Scores(
        torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64),
        torch.tensor([-1.5, -2.5, -2.0], dtype=torch.float64),
        torch.tensor([0, 0, 1]),
        torch.tensor([0, 1, 0]),
    )
    numbers = scores.numbers()
    assert numbers["engine/sequence_gap_mean"] == numbers["engine/sequence_gap_max"] == 1
    assert numbers["outside_share"] == pytest.approx(1 / 3)
    assert numbers["engine/logprob_gap_mean"] == pytest.approx(2 / 3)
    weights = torch.tensor([1.0, -1.0]).exp()
    expected = float(weights.sum() ** 2 / (2 * weights.square().sum()))
    assert numbers["sequence_effective_share"] == pytest.approx(expected, rel=1e-6)
    assert scores.worst(1) == [2]
    assert causes_in(scores, 1e-4) == []

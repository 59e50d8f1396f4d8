"""The engine of the loop over a backend: order, replay after a death, receipts, sleep. The backend here is a stand-in
that can be killed at will; the real ones pass the conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from lightrft_core import FinishReason, FirstToken, Prompt, SamplingParams
from lightrft_strategy.engines.backend import Completion, EngineDied, Part, Request
from lightrft_strategy.engines.expected import ExpectedLengths
from lightrft_strategy.engines.served import RESTARTS, ServedEngine
from lightrft_strategy.engines.sync.fingerprint import fingerprint
from lightrft_strategy.engines.sync.probe import Probe
from lightrft_strategy.engines.sync.published import ModelWeights, Published
from lightrft_strategy.engines.sync.receipt import Received, SyncError, Tolerance

SAMPLING = SamplingParams(max_new_tokens=6, n=3)


class Mortal:
    """Answers every request with its seed, and dies after as many answers as it is told to."""

    name, survives = "mortal", True

    def __init__(self, source: ModelWeights, dies_after: Sequence[int] = ()) -> None:
        self.source, self.dies_after = source, list(dies_after)
        self.cannot: dict[str, str] = {}
        self.log: list[Any] = []
        self.asked: list[Request] = []
        self.answered: list[int] = []
        self.damage: Callable[[dict[str, str]], Any] = lambda prints: None

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        self.asked += requests
        budget = self.dies_after.pop(0) if self.dies_after else len(requests)
        for index in reversed(range(len(requests))):
            if not budget:
                raise EngineDied("killed")
            budget -= 1
            request = requests[index]
            self.answered.append(request.seed)
            bad = "no such token" if -1 in request.token_ids else ""
            tokens = [] if bad else [request.seed % 97] * min(len(request.token_ids), request.law.max_new_tokens)
            done(index, Completion(tokens, [-1.0] * len(tokens), stopped=not request.seed % 2, error=bad))

    def score(self, token_ids: Sequence[int]) -> list[float]:
        return self.source.logprobs(token_ids)

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        self.log.append(version)
        prints = {published.names[0]: fingerprint(published.tensor) for published in tensors}
        self.damage(prints)
        return [Received(version, prints)]

    def sleep(self) -> None:
        self.log.append("sleep")

    def wake(self, part: Part) -> None:
        self.log.append(f"wake {part}")

    def restart(self) -> None:
        self.log.append("restart")

    def close(self) -> None:
        self.log.append("close")


@pytest.fixture
def source(tiny_model: Callable[..., Any]) -> ModelWeights:
    return ModelWeights(tiny_model())


@pytest.fixture
def build(source: ModelWeights) -> Callable[..., ServedEngine]:
    """build(dies_after) -> an engine that has its weights."""

    def make(dies_after: Sequence[int] = (), **settings: Any) -> ServedEngine:
        engine = ServedEngine(
            Mortal(source, dies_after),
            source,
            lambda rows: [str(row) for row in rows],
            probe=Probe(range(9), Tolerance(1e-4, 1e-4)),
            seed=1,
            **settings,
        )
        engine.load_weights(0)
        return engine

    return make


def prompts(*lengths: int) -> list[Prompt]:
    return [Prompt(f"row{i}", (), "", tuple(range(1, length + 1))) for i, length in enumerate(lengths)]


def answers(engine: ServedEngine, rows: Sequence[Prompt], sampling: SamplingParams = SAMPLING) -> list[Any]:
    groups = engine.generate(rows, sampling, step=1)
    return [(g.prompt.uid, [(r.sample, r.token_ids, r.finish_reason) for r in g.rollouts]) for g in groups]


def test_every_prompt_gets_its_own_answers_in_order(build: Callable[..., ServedEngine]) -> None:
    found = answers(build(), prompts(2, 5, 3))
    assert [uid for uid, _ in found] == ["row0", "row1", "row2"]
    assert [[len(tokens) for _, tokens, _ in rows] for _, rows in found] == [[2] * 3, [5] * 3, [3] * 3]
    assert all([sample for sample, _, _ in rows] == [0, 1, 2] for _, rows in found)
    assert {reason for _, rows in found for _, _, reason in rows} == {FinishReason.STOP, FinishReason.LENGTH}


@pytest.mark.parametrize("dies_after", [[0], [4], [1, 2], [5, 0, 1]])
def test_a_death_loses_no_answer_and_counts_none_twice(
    build: Callable[..., ServedEngine], dies_after: list[int]
) -> None:
    finished: list[int] = []
    said: list[str] = []
    engine = build(dies_after, progress=finished.append, say=said.append)
    assert answers(engine, prompts(2, 5, 3)) == answers(build(), prompts(2, 5, 3))
    assert sum(finished) == 9
    assert len(set(engine.backend.answered)) == len(engine.backend.answered) == 9  # type: ignore[attr-defined]
    deaths = len(dies_after)
    assert engine.backend.log == [0] + ["restart", 0] * deaths  # type: ignore[attr-defined]
    assert len(said) == deaths
    assert engine.load_weights(1).result()["sync/restarts"] == deaths


def test_an_engine_that_keeps_dying_ends_the_run(build: Callable[..., ServedEngine]) -> None:
    engine = build([0] * (RESTARTS + 1))
    with pytest.raises(EngineDied, match="killed"):
        engine.generate(prompts(3), SAMPLING, step=1)


@pytest.mark.parametrize("place", ["sleep", "wake", "receive", "score", "restart"])
def test_a_death_at_any_other_moment_is_a_restart_too(build: Callable[..., ServedEngine], place: str) -> None:
    engine = build([0] if place == "restart" else [])
    backend, deaths = engine.backend, [1]
    plain = getattr(backend, place)

    def dying(*arguments: Any) -> Any:
        if deaths:
            deaths.pop()
            raise EngineDied(f"killed in {place}")
        return plain(*arguments)

    setattr(backend, place, dying)
    if place == "restart":
        assert answers(engine, prompts(2, 5)) == answers(build(), prompts(2, 5))
    else:
        engine.sleep()
        numbers = engine.load_weights(1).result()
        assert (numbers["sync/version"], numbers["sync/restarts"]) == (1, 1)
    assert not deaths
    assert engine.restarts == (2 if place == "restart" else 1)


def test_a_bold_first_token_is_drawn_by_itself_and_gone_on_from(build: Callable[..., ServedEngine]) -> None:
    engine = build()
    sampling = SamplingParams(max_new_tokens=6, n=3, min_new_tokens=2, first_token=FirstToken(9.0, 4))
    finished: list[int] = []
    engine.progress = finished.append
    groups = engine.generate(prompts(4), sampling, step=1)
    assert sum(finished) == 3
    first, rest = engine.backend.asked[:3], engine.backend.asked[3:]  # type: ignore[attr-defined]
    assert all(
        (r.law.temperature, r.law.top_k, r.law.max_new_tokens, r.law.min_new_tokens) == (9, 4, 1, 1) for r in first
    )
    assert all(
        (r.law.temperature, r.law.top_k, r.law.max_new_tokens, r.law.min_new_tokens) == (1, 0, 5, 1) for r in rest
    )
    assert all(r.law.first_token is None for r in first + rest)
    begun = {r.token_ids for r in rest}
    for rollout in groups[0].rollouts:
        stopped_at_once = len(rollout.token_ids) == 1
        assert stopped_at_once == ((1, 2, 3, 4, rollout.token_ids[0]) not in begun)
        assert len(rollout.token_ids) == len(rollout.logprobs)


def test_a_prompt_that_cannot_be_answered_costs_its_group_alone(build: Callable[..., ServedEngine]) -> None:
    broken = Prompt("rows.jsonl:3", (), "", (1, -1))
    groups = build().generate([*prompts(2), broken], SAMPLING, step=1)
    assert len(groups[0].rollouts) == 3
    assert (groups[1].rollouts, groups[1].error) == (
        [],
        "rows.jsonl:3: mortal cannot answer this prompt: no such token",
    )


def test_a_prompt_refused_beforehand_is_not_sent(build: Callable[..., ServedEngine]) -> None:
    engine = build(refuse=lambda prompt, budget: f"{prompt.uid}: longer" if len(prompt.token_ids) + budget > 9 else "")
    groups = engine.generate(prompts(2, 4, 3), SAMPLING, step=1)
    assert [(group.prompt.uid, len(group.rollouts), group.error) for group in groups] == [
        ("row0", 3, ""),
        ("row1", 0, "row1: longer"),
        ("row2", 3, ""),
    ]
    assert len(engine.backend.asked) == 6  # type: ignore[attr-defined]


def test_what_an_engine_cannot_honour_is_refused_before_it_is_asked(build: Callable[..., ServedEngine]) -> None:
    engine = build()
    engine.backend.cannot = {"top_p": "it never learnt to"}  # type: ignore[misc]
    with pytest.raises(ValueError, match="mortal cannot honour top_p: it never learnt to"):
        engine.generate(prompts(2), SamplingParams(top_p=0.5), step=1)
    mixed = SamplingParams(n=2, per_sample=(SamplingParams(), SamplingParams(top_p=0.5)))
    with pytest.raises(ValueError, match="top_p"):
        engine.generate(prompts(2), mixed, step=1)
    assert engine.backend.asked == []  # type: ignore[attr-defined]


def test_a_sleeping_engine_wakes_its_weights_takes_new_ones_and_wakes_its_cache(
    build: Callable[..., ServedEngine],
) -> None:
    engine = build()
    engine.sleep()
    engine.sleep()
    engine.load_weights(1)
    engine.load_weights(2)
    assert engine.backend.log == [0, "sleep", "wake weights", 1, "wake cache", 2]  # type: ignore[attr-defined]


def test_a_parameter_that_arrives_otherwise_stops_the_run_by_its_name(build: Callable[..., ServedEngine]) -> None:
    engine = build()
    engine.backend.damage = lambda prints: prints.update({"model.norm.weight": "0"})  # type: ignore[attr-defined]
    with pytest.raises(SyncError, match=r"model\.norm\.weight arrived with other bytes"):
        engine.load_weights(1)


def test_a_receipt_has_counts_a_digest_and_a_probe(build: Callable[..., ServedEngine], source: ModelWeights) -> None:
    engine = build()
    published = list(source.tensors())
    receipt = engine.receipt
    assert receipt is not None
    assert (receipt.tensors, receipt.bytes) == (len(published), sum(each.bytes for each in published))
    assert (receipt.version, receipt.gap_max, receipt.moved) == (0, 0, None)
    numbers = engine.load_weights(4).result()
    assert (numbers["sync/version"], numbers["sync/probe_gap_max"], numbers["sync/probe_moved"]) == (4, 0, 0)


def test_rows_that_were_long_are_begun_first(build: Callable[..., ServedEngine]) -> None:
    engine, rows = build(), prompts(2, 6, 4)
    engine.generate(rows, SAMPLING, step=1)
    engine.backend.asked.clear()  # type: ignore[attr-defined]
    engine.generate(rows, SAMPLING, step=2)
    order = [len(request.token_ids) for request in engine.backend.asked]  # type: ignore[attr-defined]
    assert order == [6] * 3 + [4] * 3 + [2] * 3
    assert ExpectedLengths().longest_first(rows) == [0, 1, 2]

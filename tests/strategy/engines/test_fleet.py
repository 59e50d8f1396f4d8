"""Several engines as one: fair hands, every answer once, and deaths that name the member."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Backend, Completion, EngineDied, EngineTimeout, Part, Request
from lightrft_strategy.engines.fleet import Fleet, deal
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received, SyncError, Tolerance


class Echo:
    """Answers a prompt with itself; `error`, if any, is raised after `before` answers."""

    name = "echo"
    cannot: Mapping[str, str] = {}

    def __init__(self, *, survives: bool = True, error: Exception | None = None, before: int = 0) -> None:
        self.survives, self.error, self.before = survives, error, before
        self.did: list[Any] = []
        self.logprobs = [-1.0]

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        for index, request in enumerate(requests):
            if self.error is not None and index == self.before:
                raise self.error
            self.did.append(request)
            done(index, Completion(list(request.token_ids), [0.0] * len(request.token_ids), stopped=True))

    def score(self, token_ids: Sequence[int]) -> list[float]:
        return self.logprobs

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        return [Received(version, {published.names[0]: "" for published in tensors})]

    def sleep(self) -> None:
        self.did.append("sleep")

    def wake(self, part: Part) -> None:
        self.did.append(part)

    def restart(self) -> None:
        self.did.append("restart")

    def close(self) -> None:
        self.did.append("close")


def fleet_of(members: Sequence[Echo]) -> Fleet:
    return Fleet(members, Tolerance(1e-4, 1e-4))


def requests(*prompts: int, budget: int = 10) -> list[Request]:
    return [Request((prompt,), SamplingParams(max_new_tokens=budget), i) for i, prompt in enumerate(prompts)]


def complete(fleet: Backend, asked: Sequence[Request]) -> dict[int, Completion]:
    answers: dict[int, Completion] = {}

    def done(index: int, completion: Completion) -> None:
        assert index not in answers
        assert threading.current_thread() is threading.main_thread()
        answers[index] = completion

    fleet.complete(asked, done)
    return answers


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 5))
def test_every_request_is_dealt_once_and_in_order(prompts: list[int], members: int) -> None:
    hands = deal(requests(*prompts), members)
    assert len(hands) == members
    assert sorted(index for hand in hands for index in hand) == list(range(len(prompts)))
    if len(set(prompts)) == len(prompts):
        assert all(hand == sorted(hand) for hand in hands)
        assert max(map(len, hands)) - min(map(len, hands)) <= 1


def test_answers_of_a_prompt_stay_together_and_the_first_in_one_round_is_last_in_the_next() -> None:
    assert deal(requests(7, 7, 8, 8, 9, 9, 5, 5), 2) == [[0, 1, 6, 7], [2, 3, 4, 5]]


def test_a_prompt_with_more_than_a_fair_share_of_answers_is_shared() -> None:
    assert deal(requests(*[7] * 6), 3) == [[0, 1], [2, 3], [4, 5]]


def test_long_budgets_weigh_more() -> None:
    asked = requests(1, budget=100) + requests(2, 3, 4)
    assert deal(asked, 2) == [[0], [1, 2, 3]]


def test_every_answer_comes_once_in_the_calling_thread() -> None:
    answers = complete(fleet_of([Echo(), Echo(), Echo()]), requests(*range(20)))
    assert {index: answer.token_ids for index, answer in answers.items()} == {i: [i] for i in range(20)}


def test_a_death_names_the_member_and_the_others_finish_first() -> None:
    fleet = fleet_of([Echo(), Echo(error=EngineDied("killed"), before=1)])
    answers: dict[int, Completion] = {}
    with pytest.raises(EngineDied, match="engine 2 of 2: killed"):
        fleet.complete(requests(*range(8)), answers.__setitem__)
    assert len(answers) == 5


def test_a_death_is_told_before_a_timeout() -> None:
    fleet = fleet_of([Echo(error=EngineTimeout("slow")), Echo(error=EngineDied("killed"))])
    with pytest.raises(EngineDied, match="engine 2 of 2: killed"):
        fleet.complete(requests(1, 2), lambda index, answer: None)


def test_a_caller_that_gives_up_is_not_called_again() -> None:
    calls = []

    def done(index: int, completion: Completion) -> None:
        calls.append(index)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fleet_of([Echo(), Echo()]).complete(requests(*range(8)), done)
    assert len(calls) == 1


def test_all_members_sleep_wake_restart_and_close() -> None:
    members = [Echo(), Echo()]
    fleet = fleet_of(members)
    fleet.sleep()
    fleet.wake("weights")
    fleet.wake("cache")
    fleet.restart()
    fleet.close()
    assert all(member.did == ["sleep", "weights", "cache", "restart", "close"] for member in members)


def test_all_members_receive_even_from_what_can_be_read_but_once() -> None:
    sent = (Published((name,), torch.zeros(1)) for name in "ab")
    assert fleet_of([Echo(), Echo()]).receive(3, sent) == [Received(3, {"a": "", "b": ""})] * 2


@pytest.mark.parametrize("other", [[-1.0, -2.001], [-1.0, float("nan")], [float("nan"), -2.0]], ids=str)
def test_members_that_disagree_are_found(other: list[float]) -> None:
    members = [Echo(), Echo()]
    members[0].logprobs = members[1].logprobs = [-1.0, -2.0]
    assert fleet_of(members).score([1, 2, 3]) == [-1.0, -2.0]
    members[1].logprobs = other
    with pytest.raises(SyncError, match=r"engine 2 of 2 and engine 1 hold other weights: .* differs by"):
        fleet_of(members).score([1, 2, 3])


def test_a_fleet_survives_if_all_its_members_do() -> None:
    assert fleet_of([Echo(), Echo()]).survives
    assert not fleet_of([Echo(), Echo(survives=False)]).survives

"""Beam search over steps: what a process reward model finds that greedy decoding misses, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_apps.evaluating.beam import BeamSearch
from lightrft_core import FinishReason, Group, Metrics, Prompt, Rollout, SamplingParams, Verdict

END = 0
PROMPT = Prompt("row", (), "?", (ord("?"),))


class Tree:
    """An engine that knows what may follow: answer so far -> its next steps, one a letter a token; "" ends it."""

    def __init__(self, following: dict[str, list[str]]) -> None:
        self.following = following
        self.asked: list[tuple[str, int]] = []

    def load_weights(self, version: int) -> Metrics:
        return Metrics()

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        return [Group(prompt, [self._one(prompt, i, sampling) for i in range(sampling.n)]) for prompt in prompts]

    def _one(self, prompt: Prompt, number: int, law: SamplingParams) -> Rollout:
        said = "".join(map(chr, prompt.token_ids[1:]))
        self.asked.append((said, law.max_new_tokens))
        ways = self.following.get(said, [""])
        text = ways[number % len(ways)]
        ids = [*map(ord, text), *[END] * (not text.endswith(";"))]
        whole, ids = len(ids) <= law.max_new_tokens, ids[: law.max_new_tokens]
        reason = FinishReason.STOP if whole else FinishReason.LENGTH
        return Rollout(number, ids, [-0.5] * len(ids), [True] * len(ids), reason, text)


class Steps:
    """A process reward model: the reward of a step is worth(answer up to its end)."""

    def __init__(self, worth: Any) -> None:
        self.worth = worth

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        return [[self._verdict(rollout.text) for rollout in group.rollouts] for group in groups]

    def _verdict(self, text: str) -> Verdict:
        ends = [place + 1 for place, letter in enumerate(text) if letter == ";"]
        if not text:
            return Verdict(None, error="nothing to judge")
        if text[-1] != ";":
            ends.append(len(text))
        steps = tuple((end, self.worth(text[:end])) for end in ends)
        return Verdict(min(reward for _, reward in steps), steps=steps)


def decode(token_ids: Sequence[int]) -> str:
    return "".join(chr(token) for token in token_ids if token != END)


def search(engine: Any, worth: Any, width: int, expand: int, step_len: int = 99, most: int = 99) -> list[Rollout]:
    beams = BeamSearch(engine, Steps(worth), decode, frozenset({END}), width, expand, ";", step_len)
    (group,) = beams.generate([PROMPT], SamplingParams(max_new_tokens=most), step=0)
    assert group.error == "" and [rollout.sample for rollout in group.rollouts] == [*range(len(group.rollouts))]
    return group.rollouts


PLANTED = {"": ["a;", "b;"], "a;": ["x;", "y;"], "b;": ["R;", "w;"], "a;x;": [""], "a;y;": [""], "b;R;": [""]}
WORTH = {"a;": 0.6, "b;": 0.5, "a;x;": 0.2, "a;y;": 0.3, "b;R;": 0.9, "b;w;": 0.1}


def test_the_beam_finds_the_planted_path_that_greedy_decoding_misses() -> None:
    def best(width: int, expand: int) -> str:
        return search(Tree(PLANTED), lambda text: WORTH[text], width, expand)[0].text

    assert best(1, 1) == "a;x;"
    assert best(1, 2) == "a;y;"
    assert best(2, 2) == "b;R;"


def test_an_answer_that_has_ended_stays_while_others_go_on() -> None:
    tree = Tree({"": ["good", "a;"], "a;": ["b;"], "a;b;": ["c"]})
    worth = {"good": 0.8, "a;": 0.9, "a;b;": 0.7, "a;b;c": 0.6}
    found = search(tree, worth.__getitem__, 2, 2)
    assert found[0].text == "good"
    assert all(rollout.finish_reason is FinishReason.STOP for rollout in found)


def reference(following: dict[str, list[str]], worth: Any, width: int, expand: int) -> list[str]:
    """The same search, on texts: (text, ended)."""
    ways = width * expand
    beams: list[tuple[str, bool]] = [("", False)]
    while any(not ended for _, ended in beams):
        rivals = [beam for beam in beams if beam[1]]
        for text, ended in beams:
            options = following.get(text, [""])
            drawn = [] if ended else [options[i % len(options)] for i in range(ways)]
            rivals += [(text + step, step == "") for step in drawn]
        rivals = list(dict.fromkeys(rivals))
        rivals.sort(key=lambda beam: -worth(beam[0]))
        beams, ways = rivals[:width], expand
    return [text for text, _ in beams]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_every_search_is_that_of_a_few_lines_on_texts(width: int, expand: int, seed: int) -> None:
    def worth(text: str) -> float:
        return int.from_bytes(blake2b(f"{seed}{text}".encode(), digest_size=6).digest(), "little") / 2**48

    def below(text: str, depth: int) -> dict[str, list[str]]:
        count = 0 if depth == 3 else 1 + int(worth(text + "#") * 3)
        steps = [f"{letter};" for letter in "abc"[:count]] + [""] * (depth > 0)
        deeper = {k: v for step in steps if step for k, v in below(text + step, depth + 1).items()}
        return {text: steps} | deeper

    following = below("", 0)
    found = [rollout.text for rollout in search(Tree(following), worth, width, expand)]
    assert found == reference(following, worth, width, expand)


def test_no_answer_is_longer_than_allowed_nor_a_step() -> None:
    tree = Tree({"": ["abcdefgh;"], "abc": ["defgh;"], "abcdef": ["gh;"], "abcdefg": ["h;"]})
    (found,) = search(tree, lambda text: 1.0, 1, 1, step_len=3, most=7)
    assert (found.text, found.finish_reason, len(found.logprobs)) == ("abcdefg", FinishReason.LENGTH, 7)
    assert tree.asked == [("", 3), ("abc", 3), ("abcdef", 1)]


def test_what_cannot_be_scored_is_kept_last_and_what_cannot_be_answered_says_why() -> None:
    found = search(Tree({"": ["", "a"]}), lambda text: 0.1, 2, 1)
    assert [rollout.text for rollout in found] == ["a", ""]

    class Refuses(Tree):
        def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
            return [Group(prompt, [], "too long") for prompt in prompts]

    beams = BeamSearch(Refuses({}), Steps(lambda text: 1.0), decode, frozenset({END}), 2, 2, ";", 9)
    (group,) = beams.generate([PROMPT], SamplingParams(), step=0)
    assert (group.rollouts, group.error) == ([], "too long")


def test_what_is_drawn_for_a_prompt_depends_on_no_other_prompt() -> None:
    class Named(Tree):
        """What it says depends on the prompt's name, as with an engine that seeds by it."""

        def _one(self, prompt: Prompt, number: int, law: SamplingParams) -> Rollout:
            said = blake2b(f"{prompt.uid}{number}".encode(), digest_size=4).hexdigest()
            reason = FinishReason.STOP
            ids = [*map(ord, said), ord(";") if len(prompt.token_ids) < 20 else END]
            return Rollout(number, ids, [-0.5] * len(ids), [True] * len(ids), reason, said)

    def texts(*names: str) -> dict[str, list[str]]:
        prompts = [Prompt(name, (), "?", (ord("?"),)) for name in names]
        worth = lambda text: int(text.split(";")[-2 if text[-1] == ";" else -1], 16) / 2**32  # noqa: E731
        beams = BeamSearch(Named({}), Steps(worth), decode, frozenset({END}), 2, 3, ";", 99)
        groups = beams.generate(prompts, SamplingParams(max_new_tokens=99), step=0)
        return {group.prompt.uid: [rollout.text for rollout in group.rollouts] for group in groups}

    beside = texts("before", "row", "after")
    assert texts("row")["row"] == beside["row"] and beside["row"] != beside["after"]


@pytest.mark.parametrize(("step_len", "text"), [(9, "a;;b;"), (2, "a;;b")])
def test_a_stop_text_that_two_steps_make_up_ends_the_answer(step_len: int, text: str) -> None:
    tree = Tree({"": ["a;"], "a;": [";b;"], "a;;b;": ["c;"]})
    beams = BeamSearch(tree, Steps(lambda text: 1.0), decode, frozenset({END}), 1, 1, ";", step_len)
    (group,) = beams.generate([PROMPT], SamplingParams(max_new_tokens=99, stop=("a;;",)), step=0)
    assert [(one.text, one.finish_reason) for one in group.rollouts] == [(text, FinishReason.STOP)]


@pytest.mark.parametrize("ways", [["a;", "b;", "c;"], ["c;", "b;", "a;"]])
def test_a_step_whose_reward_is_no_number_comes_last(ways: list[str]) -> None:
    worth = {"a;": 0.4, "b;": float("nan"), "c;": 0.6}
    assert [rollout.text for rollout in search(Tree({"": ways}), worth.__getitem__, 3, 1)] == ["c;", "a;", "b;"]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("step_len", [2, 50])
def test_one_beam_with_one_continuation_is_greedy_decoding(tiny_folder: Path, step_len: int) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from lightrft_strategy.engines.embedded import EmbeddedEngine

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)

    def texts(rows: list[list[int]]) -> list[str]:
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))

    engine = EmbeddedEngine(model, texts, eos_token_ids=[0], seed=1)
    prompts = [Prompt(f"row {i}", (), "", tuple(tokenizer(f"{i}+{3 * i}=").input_ids)) for i in range(12)]
    law = SamplingParams(temperature=0, max_new_tokens=20)
    greedy = engine.generate(prompts, law, step=0)
    one = lambda text: 1.0  # noqa: E731
    separator = max("0123456789+-=", key=lambda letter: sum(letter in g.rollouts[0].text for g in greedy))
    beams = BeamSearch(engine, Steps(one), lambda ids: texts([list(ids)])[0], frozenset({0}), 1, 1, separator, step_len)
    found = beams.generate(prompts, law, step=0)
    assert beams.rounds > 2
    for group, plain in zip(found, greedy, strict=True):
        (beam,), (rollout,) = group.rollouts, plain.rollouts
        assert (beam.token_ids, beam.finish_reason, beam.text) == (
            rollout.token_ids,
            rollout.finish_reason,
            rollout.text,
        )
        assert beam.logprobs == pytest.approx(rollout.logprobs, abs=1e-4)

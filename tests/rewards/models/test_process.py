"""Process rewards: steps found in text and tokens, learnt from labels, and given to answers step by step."""

from __future__ import annotations

import json
from math import exp, nan
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import BatchSizes, Message, OneRank
from lightrft_multimodal.tiny.texts import chat_template, learnt_tokenizer
from lightrft_rewards.journal import Entry, Journal
from lightrft_rewards.models.card import RewardCard
from lightrft_rewards.models.contest_losses import LossOptions
from lightrft_rewards.models.loading import save_reward_model
from lightrft_rewards.models.objective import RewardObjective
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_rewards.models.reward_model import RewardModel, RewardOutput
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.models.solutions import SolutionKeys, load_solutions, solution_contest
from lightrft_rewards.models.steps import step_ends, stepped_passage
from lightrft_rewards.models.writing import Writer
from lightrft_rewards.samples import Outcome, Sample
from lightrft_strategy.data.rejected import PromptDataError, RowError

from .planted import GOOD, VOCABULARY, taught, tiny_backbone

pytestmark = pytest.mark.usefixtures("one_thread")

OBJECTIVE = RewardObjective(loss_options=LossOptions("cross_entropy"))


def tokenizer():
    made = learnt_tokenizer(("First we add 2 and 2. Then we are done. What is 2 + 2?",) * 3, 330, {})
    made.chat_template = chat_template({})
    return made


TOKENIZER = tokenizer()


def a_solution(random: Random, number: int) -> Contest:
    """Steps of three to five tokens; one is good if it and all before it have the good token."""
    tokens, steps, labels = [random.randrange(8, VOCABULARY) for _ in range(4)], [], []
    fine = True
    for _ in range(random.randrange(2, 5)):
        step = [random.randrange(8, VOCABULARY) for _ in range(random.randrange(3, 6))]
        if has := random.random() < 0.7:
            step[random.randrange(len(step))] = GOOD
        fine = fine and has
        tokens += [*step, 1]
        steps.append(len(tokens) - 1)
        labels.append(float(fine))
    return Contest(f"row:{number}", (Passage(tuple(tokens), steps=tuple(steps)),), {"score": tuple(labels)})


def solutions(count: int, seed: int) -> list[Contest]:
    random = Random(seed)
    return [a_solution(random, number) for number in range(count)]


@pytest.mark.proof
def test_a_process_reward_model_finds_the_first_wrong_step() -> None:
    model = RewardModel(tiny_backbone(1))
    lines = taught(model, OBJECTIVE, solutions(4800, 0), solutions(200, 1), steps=300, learning_rate=2e-3)
    assert lines[-1]["eval/accuracy"] > 0.95
    assert lines[-1]["eval/first_error_accuracy"] > 0.9


def batch_of(labels: list[list[float]]):
    rows = [
        Contest(f"row:{n}", (Passage(tuple(range(20)), steps=tuple(range(len(row)))),), {"score": tuple(row)})
        for n, row in enumerate(labels)
    ]
    (batch,) = OBJECTIVE.cut(rows, OneRank(), BatchSizes(8, 8, 1000, 1))
    return batch


def test_steps_cost_their_cross_entropy_and_each_solution_counts_the_same() -> None:
    rewards, labels = [[1.0, -2.0, 0.5], [3.0]], [[1.0, 0.25, nan], [0.0]]
    output = RewardOutput(torch.tensor(rewards[0] + rewards[1], dtype=torch.float64)[:, None])
    loss, _ = OBJECTIVE.loss(output, batch_of(labels))

    def cost(reward: float, label: float) -> float:
        good = 1 / (1 + exp(-reward))
        return float(-label * torch.tensor(good).log() - (1 - label) * torch.tensor(1 - good).log())

    assert float(loss) == pytest.approx(((cost(1, 1) + cost(-2, 0.25)) / 2 + cost(3, 0)) / 2, rel=1e-6)


def test_what_is_told_of_steps() -> None:
    labels = [[1.0, 0.0, 0.0], [1.0, 1.0], [1.0, 0.5]]
    rewards = torch.tensor([2.0, -1.0, 3.0, 1.0, 0.0, 1.0, -9.0])[:, None]
    numbers = OBJECTIVE.measure(RewardOutput(rewards), batch_of(labels)).result()
    assert numbers["rm/accuracy"] == pytest.approx(4 / 6)
    assert numbers["rm/good_share"] == pytest.approx(4 / 7)
    assert numbers["rm/first_error_accuracy"] == pytest.approx(2 / 3)
    assert "rm/margin" not in numbers


def test_labels_beyond_one_are_refused_for_cross_entropy() -> None:
    with pytest.raises(
        ValueError, match=r"row:0: labels for the loss cross_entropy are from 0 to 1, not \[1.0, -1.0\]"
    ):
        batch_of([[1.0, -1.0]])


WORDS = st.text(st.sampled_from("aé2 .\n😀First we add"), min_size=1, max_size=12).filter(str.strip)


@given(steps=st.lists(WORDS.map(str.strip).filter(lambda s: "\n\n" not in s), min_size=1, max_size=5), template=...)
def test_each_step_is_scored_at_the_token_that_writes_its_last_letter(steps: list[str], template: bool) -> None:
    answer = "\n\n".join(steps)
    ends = step_ends(answer, "\n\n")
    assert [answer[:end].endswith(step) for end, step in zip(ends, steps, strict=True)] == [True] * len(steps)
    writer = Writer(TOKENIZER, apply_chat_template=template)
    messages = [Message("user", "What is 2 + 2?"), Message("assistant", answer)]
    passage = stepped_passage(writer, messages, (), ends)
    assert passage.token_ids == writer.write(messages, ())[1].token_ids
    text = TOKENIZER.decode(passage.token_ids)
    question = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n" if template else "What is 2 + 2?"
    start = len(question)
    assert text[start:].startswith(answer)
    for place, end in zip(passage.steps, ends, strict=True):
        before = TOKENIZER.decode(passage.token_ids[:place])
        through = TOKENIZER.decode(passage.token_ids[: place + 1])
        assert through[: start + end] == text[: start + end]
        assert before[: start + end] != text[: start + end]


def test_steps_that_cannot_be_found_are_refused() -> None:
    writer = Writer(TOKENIZER)
    messages = [Message("user", "?"), Message("assistant", "First  ")]
    with pytest.raises(RowError, match="no steps"):
        stepped_passage(writer, messages, (), [])
    with pytest.raises(RowError, match="two of them end in one token"):
        stepped_passage(writer, messages, (), [1, 2])
    shouting = tokenizer()
    shouting.chat_template = "{{ messages[-1]['content'].upper() }}"
    with pytest.raises(RowError, match="does not write the answer as it is"):
        stepped_passage(Writer(shouting), messages, (), [5])


def write(path: Path, *rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_with_lists_of_steps_are_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": "What is 2 + 2?", "steps": ["First we add.", " Then done.\n"], "labels": [True, 0.25]},
        {"input": [{"role": "user", "content": "2?"}], "completions": ["a", "b", "c"], "labels": [1, None, "-"]},
    ]
    loaded = load_solutions(write(tmp_path / "train.jsonl", *rows))
    first, second = loaded.solutions
    assert (first.text, first.ends, first.uid) == ("First we add.\n\nThen done.", (13, 25), "train.jsonl:1")
    assert first.labels == {"score": (1.0, 0.25)}
    assert str(second.labels["score"]) == "(1.0, nan, 0.0)"
    contest = solution_contest(Writer(TOKENIZER), first)
    (passage,) = contest.passages
    assert TOKENIZER.decode(passage.token_ids[: passage.steps[0] + 1]).endswith("assistant\nFirst we add.")
    assert TOKENIZER.decode(passage.token_ids[: passage.steps[1] + 1]).endswith("Then done.")


def test_rows_with_a_mark_behind_each_step_are_read(tmp_path: Path) -> None:
    keys = SolutionKeys(placeholder="ки")
    rows = [
        {"input": "2 + 2? Step 1: add ки\nStep 2: done ки", "value": ["+", "-"]},
        {"prompt": "2 + 2?", "input": "Step 1: add ки\nStep 2: done ки\n", "labels": ["+", "+"]},
    ]
    loaded = load_solutions(write(tmp_path / "train.jsonl", *rows), keys=keys)
    first, second = loaded.solutions
    assert (first.text, first.asked, first.labels) == (
        "2 + 2? Step 1: add \nStep 2: done", (), {"score": (1.0, 0.0)}
    )  # fmt: skip
    assert [first.text[:end] for end in first.ends] == ["2 + 2? Step 1: add", "2 + 2? Step 1: add \nStep 2: done"]
    assert (second.asked[0].text, second.text) == ("2 + 2?", "Step 1: add \nStep 2: done")
    (passage,) = solution_contest(Writer(TOKENIZER, apply_chat_template=False), first).passages
    assert TOKENIZER.decode(passage.token_ids[: passage.steps[0] + 1]) == "2 + 2? Step 1: add"
    assert TOKENIZER.decode(passage.token_ids) == first.text + "<|im_end|>"
    with pytest.raises(RowError, match="give the question a key of its own"):
        solution_contest(Writer(TOKENIZER), first)
    assert len(solution_contest(Writer(TOKENIZER), second).passages[0].steps) == 2


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": "?", "labels": [1]}, 'has no "steps" or "completions"'),
        ({"steps": ["a"], "labels": [1]}, 'has no "prompt" or "input"'),
        ({"prompt": "?", "steps": ["a"]}, 'has no "labels" or "label" or "value"'),
        ({"prompt": "?", "steps": "a", "labels": [1]}, "not a list of texts"),
        ({"prompt": "?", "steps": ["a", " "], "labels": [1, 1]}, "its step 2 is empty"),
        ({"prompt": "?", "steps": ["a"], "labels": [1, 1]}, "has 2 labels for 1 steps"),
        ({"prompt": "?", "steps": ["a"], "labels": [-1]}, 'has the label "-1" of a step'),
        ({"prompt": "?", "steps": ["a"], "labels": ["good"]}, 'has the label "good" of a step'),
    ],
)
def test_rows_that_cannot_be_used_say_why(row, why: str, tmp_path: Path) -> None:
    fine = {"prompt": "?", "steps": ["a"], "labels": [1]}
    loaded = load_solutions(write(tmp_path / "train.jsonl", fine, row))
    assert len(loaded.solutions) == 1
    (rejected,) = loaded.rejected
    assert rejected.row == 2 and why in rejected.reason
    with pytest.raises(PromptDataError, match="not one of its rows"):
        load_solutions(write(tmp_path / "other.jsonl", row))


def test_a_mark_must_end_the_text(tmp_path: Path) -> None:
    rows = [{"input": "a ки b", "labels": [1]}, {"input": "a ки", "labels": [1]}]
    loaded = load_solutions(write(tmp_path / "train.jsonl", *rows), keys=SolutionKeys(placeholder="ки"))
    assert len(loaded.solutions) == 1 and "does not end with" in loaded.rejected[0].reason


def test_an_answer_is_as_good_as_its_worst_step(tmp_path: Path) -> None:
    backbone = tiny_backbone(3)
    backbone.resize_token_embeddings(330)
    torch.nn.init.normal_(backbone.get_input_embeddings().weight, generator=torch.Generator().manual_seed(2))
    model = RewardModel(backbone)
    save_reward_model(model, TOKENIZER, tmp_path, RewardCard(process=True))
    scorer = ModelScorer.load(tmp_path, name="prm")
    response = "First we add.\n\n\n\nThen we are done.\n\n2 and 2"
    sample = Sample(response, prompt="What is 2 + 2?")
    ((outcome, blank, other),) = scorer.score([[sample, Sample(" \n\n", prompt="?"), Sample("2 and 2", prompt="?")]])
    ends, rewards = zip(*outcome.steps, strict=True)
    assert [response[:end] for end in ends] == [response[:13], response[:34], response]
    assert outcome.score == outcome.accuracy == outcome.parts["prm"] == min(rewards)
    assert len(set(rewards)) == 3 and all(0 < reward < 1 for reward in rewards)
    assert outcome.metrics == {f"{scorer.name}/steps": 3.0}
    assert "has no steps to judge" in blank.error and blank.score is None
    assert len(other.steps) == 1
    ((alone,),) = scorer.score([[sample]])
    assert [reward for _, reward in alone.steps] == pytest.approx(rewards, abs=1e-5)
    cut = Sample(response[: ends[1]], prompt="What is 2 + 2?")
    ((shorter,),) = scorer.score([[cut]])
    assert shorter.steps[0][1] == pytest.approx(rewards[0], abs=1e-5)


def test_a_journal_gives_steps_back_as_they_were(tmp_path: Path) -> None:
    judged = [Outcome(0.25, 0.25, {"prm": 0.25}, steps=((3, 0.5), (9, 0.25))), Outcome(1.0)]
    Journal(tmp_path / "journal").add([Entry(1, "row", 0, "key", [0, 1], judged)])
    assert Journal(tmp_path / "journal").recall(1) == {"key": judged}

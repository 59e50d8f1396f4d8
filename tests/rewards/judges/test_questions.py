"""What a judge is asked of a comparison, what it ought to say, and how it reads both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lightrft_core import Example, Media, Message
from lightrft_rewards.models.judges import JudgeForm, JudgeWriter, Question, questions_of
from lightrft_rewards.preferences import Comparison
from lightrft_rewards.rules.judgement import verdict_of
from lightrft_strategy.data.parts import Medium, Turn
from lightrft_strategy.data.rejected import PromptDataError, RowError

ASKED = (Turn("user", ("a house",)),)
PAIR = Comparison("x:1", ASKED, (("red old",), ("blue new",)), {"score": (1.0, 0.0)})


def image(name: str) -> tuple[Medium]:
    return (Medium("image", {"type": "image", "image": name}, name),)


def asked(comparison: Comparison, form: JudgeForm | None = None, *, both_orders: bool = True) -> list[Question]:
    return questions_of(comparison, form or JudgeForm(), both_orders=both_orders)


def test_a_pair_is_asked_about_in_both_orders_and_its_label_goes_with_the_answers() -> None:
    first, second = asked(PAIR)
    assert (first.uid, second.uid) == ("x:1[1,2]", "x:1[2,1]")
    assert first.turn.text.index("red old") < first.turn.text.index("blue new")
    assert second.turn.text.index("blue new") < second.turn.text.index("red old")
    assert (first.label, second.label) == ({"verdict": 1}, {"verdict": 2})
    assert (first.target, second.target) == (
        "<answer>Answer 1 is better</answer>",
        "<answer>Answer 2 is better</answer>",
    )
    assert "# Request\na house\n" in first.turn.text
    for saying in ("Answer 1 is better", "Answer 2 is better", "Both are equally good"):
        assert f"<answer>{saying}</answer>" in first.turn.text
    assert len(asked(PAIR, both_orders=False)) == 1


def test_a_tie_is_said_to_be_one_or_refused_by_a_judge_that_knows_none() -> None:
    tie = replace(PAIR, labels={"score": (2.0, 2.0)})
    assert [(q.label, q.target) for q in asked(tie)] == [({"verdict": 0}, "<answer>Both are equally good</answer>")] * 2
    with pytest.raises(RowError, match="is a tie"):
        asked(tie, JudgeForm(ties=False))
    assert "equally" not in asked(PAIR, JudgeForm(ties=False))[0].turn.text
    three = replace(PAIR, answers=(("a",), ("b",), ("c",)), labels={"score": (1.0, 3.0, 3.0)})
    kept = [question.places for question in asked(three, JudgeForm(ties=False), both_orders=False)]
    assert kept == [(0, 1), (0, 2)], "one tie does not take the other pairs with it"


def test_several_answers_are_asked_about_in_pairs() -> None:
    three = replace(PAIR, answers=(("a",), ("b",), ("c",)), labels={"score": (1.0, 3.0, 3.0)})
    found = {q.uid: q.label["verdict"] for q in asked(three)}
    assert found == {"x:1[1,2]": 2, "x:1[2,1]": 1, "x:1[1,3]": 2, "x:1[3,1]": 1, "x:1[2,3]": 0, "x:1[3,2]": 0}


def test_each_head_is_a_question_of_its_own_that_says_what_it_judges() -> None:
    judged = replace(PAIR, labels={"helpful": (1.0, 0.0), "safe": (0.0, 1.0)}, criterion="as a child would")
    helpful, safe = asked(judged, JudgeForm(heads=("helpful", "safe", "other")), both_orders=False)
    assert (helpful.label, safe.label) == ({"verdict": 1}, {"verdict": 2})
    assert (helpful.uid, safe.uid) == ("x:1/helpful[1,2]", "x:1/safe[1,2]")
    assert "by this alone: as a child would; helpful." in helpful.turn.text
    assert "safe" not in helpful.turn.text
    with pytest.raises(RowError, match="no label of other: its heads are helpful, safe"):
        asked(judged, JudgeForm(heads=("other",)))


def test_media_are_shown_in_their_places_and_called_what_they_are() -> None:
    seen = replace(PAIR, answers=(image("a.png"), image("b.png")))
    first, second = asked(seen)
    assert [medium.place for medium in first.turn.media] == ["a.png", "b.png"]
    assert [medium.place for medium in second.turn.media] == ["b.png", "a.png"]
    before = first.turn.pieces[: first.turn.pieces.index(first.turn.media[0])]
    assert str(before[-1]).endswith("# Image 1\n")
    assert first.target == "<answer>Image 1 is better</answer>"
    mixed = replace(PAIR, answers=(image("a.png"), ("text",)))
    assert asked(mixed)[0].target == "<answer>Answer 1 is better</answer>"


def test_a_judge_that_thinks_learns_what_was_written_down() -> None:
    form, thought = JudgeForm(reasoning=True), "<think>old is better</think>\n<answer>Answer 1 is better</answer>"
    first, second = asked(replace(PAIR, reasoning=thought), form)
    assert (first.target, second.target) == (thought, "")
    assert "between <think> and </think>" in first.turn.text
    assert asked(replace(PAIR, reasoning=thought))[0].target == "<answer>Answer 1 is better</answer>"
    with pytest.raises(RowError, match="says otherwise than its label"):
        asked(replace(PAIR, reasoning=thought.replace("1", "2")), form)


def test_a_grade_is_asked_of_each_answer_and_lies_on_the_scale() -> None:
    form = JudgeForm(kind="pointwise", lowest=0, highest=10)
    graded = replace(PAIR, labels={"score": (7.0, 2.5)})
    first, second = asked(graded, form)
    assert (first.target, second.target) == ("<answer>7</answer>", "<answer>2.5</answer>")
    assert first.label == {"grade": 7.0, "lowest": 0, "highest": 10}
    assert "red old" in first.turn.text
    assert "blue new" not in first.turn.text
    assert "from 0 (worst) to 10 (best)" in first.turn.text
    with pytest.raises(RowError, match="grade 11, which is not from 0 to 10"):
        asked(replace(PAIR, labels={"score": (11.0, 2.0)}), form)


def test_one_answer_alone_is_not_compared() -> None:
    with pytest.raises(RowError, match="one answer alone"):
        asked(replace(PAIR, answers=(("a",),), labels={"score": (3.0,)}))


def test_conversations_say_who_says_what() -> None:
    turns = (Turn("system", ("Be kind.",)), Turn("user", ("Hi",)), Turn("assistant", ("Hello",)), Turn("user", ("?",)))
    text = asked(replace(PAIR, asked=turns))[0].turn.text
    assert "# Request\nSystem: Be kind.\nUser: Hi\nAssistant: Hello\nUser: ?\n" in text
    assert "# Request" not in asked(replace(PAIR, asked=()))[0].turn.text


def learnt(example: Example, tokenizer: Any) -> str:
    return str(tokenizer.decode([t for t, m in zip(example.token_ids, example.loss_mask, strict=True) if m]))


def test_the_judgement_and_its_end_are_learnt_and_nothing_else(tokenizer: Any) -> None:
    writer = JudgeWriter(tokenizer)
    for question in asked(PAIR):
        example, prompt = writer.example(question), writer.prompt(question)
        assert learnt(example, tokenizer) == f"{question.target}<end>"
        assert list(example.token_ids[: len(prompt.token_ids)]) == list(prompt.token_ids)
        assert not any(example.loss_mask[: len(prompt.token_ids)])
        assert (prompt.route, prompt.label) == ("judgement", question.label)
        assert verdict_of(question.target) == question.label["verdict"]


def test_without_a_chat_template_questions_are_plain_text(tokenizer: Any) -> None:
    writer = JudgeWriter(tokenizer, form=JudgeForm(apply_chat_template=False))
    question = asked(PAIR)[0]
    example, prompt = writer.example(question), writer.prompt(question)
    assert "<user>" not in prompt.text
    assert learnt(example, tokenizer) == f"{question.target}<end>"
    assert list(example.token_ids[: len(prompt.token_ids)]) == list(prompt.token_ids)


def test_what_is_too_long_or_has_nothing_to_learn_is_refused(tokenizer: Any) -> None:
    question = asked(PAIR)[0]
    length = len(JudgeWriter(tokenizer).example(question).token_ids)
    JudgeWriter(tokenizer, form=JudgeForm(max_len=length)).example(question)
    with pytest.raises(RowError, match=f"{length} tokens with its judgement, more than --max_len {length - 1}"):
        JudgeWriter(tokenizer, form=JudgeForm(max_len=length - 1)).example(question)
    with pytest.raises(RowError, match="no written judgement"):
        JudgeWriter(tokenizer).example(replace(question, target=""))


def test_a_tokenizer_without_what_it_takes_is_refused(tokenizer: Any) -> None:
    from copy import deepcopy

    bare = deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(PromptDataError, match="--apply_chat_template"):
        JudgeWriter(bare)


@dataclass(frozen=True)
class Seen:
    """A medium as an encoder made it."""

    modality: str
    sha256: str


class Eyes:
    """An encoder that sees images by their name alone, each as one token 9."""

    modalities, placeholders = ("image",), (9,)

    def __init__(self) -> None:
        self.roots: list[Path | None] = []

    def read(self, part: Any, *, root: Path | None, urls: bool) -> Media:
        self.roots.append(root)
        return Seen("image", part["image"])

    def encode(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = True
    ) -> tuple[str, tuple[int, ...]]:
        ids: list[int] = []
        for message in messages:
            parts = [message.content] if isinstance(message.content, str) else message.content
            ids += [2, *(9 if not isinstance(part, str) and part["type"] != "text" else 5 for part in parts), 0]
        return " ".join(map(str, ids)), (*ids, 3) if answer_next else tuple(ids)


def test_media_are_read_from_their_folder_or_known_already(tokenizer: Any) -> None:
    eyes = Eyes()
    writer = JudgeWriter(tokenizer, eyes)
    seen = replace(PAIR, answers=(image("a.png"), image("b.png")), root=Path("there"))
    prompt = writer.prompt(asked(seen)[1])
    assert [medium.sha256 for medium in prompt.media] == ["b.png", "a.png"]
    assert prompt.token_ids.count(9) == 2
    assert eyes.roots == [Path("there")] * 2
    known = replace(PAIR, asked=(Turn("user", (Medium("image", {"type": "image", "sha256": "k"}, "k"),)),))
    prompt = writer.prompt(asked(known)[0], {"k": Seen("image", "k")})
    assert [medium.sha256 for medium in prompt.media] == ["k"]
    assert len(eyes.roots) == 2, "not read again"


def test_a_blind_judge_refuses_media(tokenizer: Any) -> None:
    with pytest.raises(RowError, match="a model of text alone"):
        JudgeWriter(tokenizer).prompt(asked(replace(PAIR, answers=(image("a.png"), image("b.png"))))[0])


def test_how_a_judge_is_asked_is_kept_beside_it(tmp_path: Path) -> None:
    form = JudgeForm("pointwise", True, False, 0.0, 10.0, ("a", "b"), False, 99, 7)
    assert JudgeForm.read(tmp_path) is None
    form.write(tmp_path)
    assert JudgeForm.read(tmp_path) == form
    for wrong in ("{", '{"kind": "odd", "heads": []}', '{"heads": ["a"], "more": 1}', "[]"):
        (tmp_path / "judge.json").write_text(wrong)
        with pytest.raises(ValueError, match=r"judge\.json does not say how the judge is asked"):
            JudgeForm.read(tmp_path)

"""What a reward model reads: whole, as the model's template writes it, or refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from lightrft_multimodal.adapters import load_adapter
from lightrft_multimodal.encoding import MediaEncoder
from lightrft_multimodal.tiny import build_qwen2_5_vl
from lightrft_multimodal.tiny.texts import chat_template, learnt_tokenizer
from lightrft_rewards.models.writing import Writer
from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.samples import Sample
from lightrft_strategy.data.parts import Medium, Turn
from lightrft_strategy.data.rejected import PromptDataError, RowError

from .shown import SIZES

ASKED = (Turn("system", ("Be kind.",)), Turn("user", ("What is 2 + 2?",)))


def tokenizer(**settings):
    made = learnt_tokenizer(("What is 2 + 2? four",), 320, {})
    made.chat_template = settings.get("template", chat_template({}))
    return made


def comparison(*answers: str, **settings) -> Comparison:
    return Comparison(
        "row:1", ASKED, tuple((answer,) for answer in answers), {"score": (1.0, 0.0)}, "plain", **settings
    )


def test_a_text_answer_is_the_assistants_turn() -> None:
    made = tokenizer()
    contest = Writer(made).contest(comparison("four", "five"))
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is 2 + 2?"}]
    for passage, answer in zip(contest.passages, ("four", "five"), strict=True):
        whole = [*turns, {"role": "assistant", "content": answer}]
        assert list(passage.token_ids) == made.apply_chat_template(whole, return_dict=True)["input_ids"]
    assert (contest.uid, contest.source, contest.labels) == ("row:1", "plain", {"score": (1.0, 0.0)})


def test_a_criterion_stands_behind_the_question() -> None:
    made = tokenizer()
    (first, _) = Writer(made).contest(comparison("four", "five", criterion="Politeness")).passages
    assert "What is 2 + 2?\n\nCriterion: Politeness<|im_end|>" in made.decode(first.token_ids)


@pytest.mark.parametrize("template", [True, False])
def test_an_answer_without_a_question_stands_alone(template: bool) -> None:
    writer = Writer(tokenizer(), apply_chat_template=template)
    (first, _) = writer.contest(Comparison("row:1", (), (("four",), ("five",)), {"score": (1.0, 0.0)})).passages
    written = writer.tokenizer.decode(first.token_ids)
    assert written == ("<|im_start|>assistant\nfour<|im_end|>\n" if template else "four<|im_end|>")


def test_a_sample_reads_as_the_comparison_that_it_could_have_been() -> None:
    writer = Writer(tokenizer())
    messages = tuple({"role": turn.role, "content": turn.text} for turn in ASKED)
    sample = Sample("four", prompt="rendered otherwise", messages=messages)
    assert writer.passage(sample) == writer.contest(comparison("four", "five")).passages[0]
    bare = made_text(writer, Sample("four", prompt="What is 2 + 2?"))
    assert bare == "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\nfour<|im_end|>\n"


def made_text(writer: Writer, sample: Sample) -> str:
    return str(writer.tokenizer.decode(writer.passage(sample).token_ids))


def test_without_a_template_it_is_question_answer_and_end() -> None:
    writer = Writer(tokenizer(), apply_chat_template=False)
    contest = writer.contest(comparison(" four", " five"))
    assert writer.tokenizer.decode(contest.passages[0].token_ids) == "Be kind.\n\nWhat is 2 + 2? four<|im_end|>"
    assert made_text(writer, Sample(" four<|im_end|>", prompt="2 + 2?")) == "2 + 2? four<|im_end|>"


def test_what_is_too_long_is_refused_and_never_cut() -> None:
    longest = len(Writer(tokenizer()).contest(comparison("four", "a longer answer")).passages[1].token_ids)
    Writer(tokenizer(), max_len=longest).contest(comparison("four", "a longer answer"))
    with pytest.raises(RowError, match=f"takes {longest} tokens with its answer, more than --max_len {longest - 1}"):
        Writer(tokenizer(), max_len=longest - 1).contest(comparison("four", "a longer answer"))


@pytest.mark.parametrize("template", [True, False])
def test_half_of_a_surrogate_pair_is_refused(template: bool) -> None:
    with pytest.raises(RowError, match="not valid Unicode"):
        Writer(tokenizer(), apply_chat_template=template).passage(Sample("fou\ud800r", prompt="2 + 2?"))


def test_media_are_refused_by_what_reads_text_alone() -> None:
    shown = Comparison("row:1", (Turn("user", (Medium("image", {}, "the image"),)),), (("a",), ("b",)), {})
    with pytest.raises(RowError, match="a model of text alone"):
        Writer(tokenizer()).contest(shown)


def test_a_tokenizer_that_cannot_write_is_refused() -> None:
    with pytest.raises(PromptDataError, match="chat template"):
        Writer(tokenizer(template=None))
    made = tokenizer()
    made.eos_token = None
    with pytest.raises(PromptDataError, match="no end token"):
        Writer(made, apply_chat_template=False)


def test_answers_that_are_shown_stand_in_one_turn_with_the_question(tmp_path: Path) -> None:
    adapter = load_adapter(build_qwen2_5_vl(tmp_path / "model", SIZES))
    assert adapter is not None
    writer = Writer(adapter.tokenizer, MediaEncoder(adapter))

    def picture(colour: str) -> Medium:
        file = io.BytesIO()
        Image.new("RGB", (16, 16), colour).save(file, "PNG")
        return Medium("image", {"type": "image", "image": file.getvalue()}, "the image")

    asked = Turn("user", ("like ", picture("red"), " but blue"))
    contest = writer.contest(
        Comparison("row:1", (asked,), ((picture("blue"),), (picture("green"), " sorry")), {"score": (1.0, 0.0)})
    )
    image = "<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>"
    for passage, tail in zip(contest.passages, ("", " sorry"), strict=True):
        assert adapter.tokenizer.decode(passage.token_ids) == (
            f"<|im_start|>user\nRequest: like {image} but blue\n\nResult: {image}{tail}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        assert len(passage.media) == 2
    hashes = [[medium.sha256 for medium in passage.media] for passage in contest.passages]
    assert hashes[0][0] == hashes[1][0] and hashes[0][1] != hashes[1][1]

    told = writer.contest(Comparison("row:2", (asked,), (("sky",), ("sea",)), {"score": (1.0, 0.0)})).passages[0]
    messages = ({"role": "user", "content": _parts(asked, told.media)},)
    assert writer.passage(Sample("sky", messages=messages, media=told.media)) == told
    limited = Writer(adapter.tokenizer, MediaEncoder(adapter), media_limits={"image": 0, "video": None, "audio": None})
    with pytest.raises(RowError, match="--limit_mm_image_per_prompt 0"):
        limited.contest(Comparison("row:2", (asked,), (("sky",), ("sea",)), {}))


def _parts(turn: Turn, media) -> list[dict[str, str]]:
    left = iter(media)
    return [
        {"type": "text", "text": piece} if isinstance(piece, str) else {"type": "image", "sha256": next(left).sha256}
        for piece in turn.pieces
    ]

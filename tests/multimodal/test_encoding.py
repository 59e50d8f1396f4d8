"""Rows of media as a real model's processor writes them: the Encoder of load_prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lightrft_core import Message
from lightrft_multimodal import AudioRecord, Limits, MediaError
from lightrft_multimodal.adapters import load_adapter
from lightrft_multimodal.encoding import MediaEncoder
from lightrft_multimodal.tiny import build_qwen2_5_omni
from lightrft_strategy.data import LoadedPrompts, PromptSpec, load_prompts, prompts
from lightrft_strategy.data.rows import Keys, Row, Table

from .made import picture, sound_file, tone

pytestmark = pytest.mark.usefixtures("one_thread")

Load = Callable[..., LoadedPrompts]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MediaEncoder:
    """Of a tiny model that reads all modalities, and of media no larger than a hundred pixels' sides."""
    adapter = load_adapter(build_qwen2_5_omni(tmp_path_factory.mktemp("omni")))
    assert adapter is not None
    return MediaEncoder(adapter, Limits(max_pixels=100 * 100))


@pytest.fixture
def load(tmp_path: Path, encoder: MediaEncoder) -> Load:
    """load(*rows, **flags): rows of a file in a folder that also holds an image and a sound."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture())
    (folder / "large.png").write_bytes(picture(size=(101, 101)))
    (folder / "s.wav").write_bytes(sound_file(tone(0.5, 8_000), 8_000))
    (tmp_path / "outside.png").write_bytes(picture())

    def load(*rows: dict[str, Any], **flags: Any) -> LoadedPrompts:
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = PromptSpec(str(folder / "rows.jsonl"), apply_chat_template=True, **flags)
        return load_prompts(spec, encoder.adapter.tokenizer, encoder)

    return load


def test_media_become_as_many_placeholder_tokens_as_they_have_embeddings(load: Load, encoder: MediaEncoder) -> None:
    loaded = load(
        {"input": "<image>What is it? <audio>", "images": "a.png", "audios": "s.wav"},
        {"input": "<audio>What is it? <image>", "images": "a.png", "audios": "s.wav"},
        {"input": "What is it?"},
    )
    assert loaded.rejected == []
    first, second, text = loaded.sources[0]
    kinds = encoder.adapter.kinds
    assert [medium.modality for medium in first.media] == ["image", "audio"]
    assert [medium.modality for medium in second.media] == ["audio", "image"]
    assert first.token_ids.index(kinds["image"]) < first.token_ids.index(kinds["audio"])
    assert second.token_ids.index(kinds["image"]) > second.token_ids.index(kinds["audio"])
    (_, height, width) = encoder.adapter.inputs([first.media[0]])["image_grid_thw"][0].tolist()
    assert first.token_ids.count(kinds["image"]) == height * width // 4 > 1
    assert not set(text.token_ids) & set(encoder.adapter.placeholders)
    assert encoder.encode(first.messages, first.media) == (first.text, first.token_ids)


def test_prompts_that_show_the_same_share_it(load: Load) -> None:
    first, second = load({"input": "one", "images": "a.png"}, {"input": "two", "images": "a.png"}).sources[0]
    assert first.media[0] is second.media[0]


def test_a_sound_is_brought_to_the_rate_the_model_hears(load: Load) -> None:
    (prompt,) = load({"input": "?", "audios": "s.wav"}).sources[0]
    (sound,) = prompt.media
    assert isinstance(sound, AudioRecord)
    assert (sound.sampling_rate, sound.samples) == (16_000, 8_000)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input": "?", "images": "gone.png"}, 'the image under its key "images": image gone.png: there is no file'),
        ({"input": "?", "images": ["a.png", "../outside.png"]}, 'image 2 under its key "images": image ../outside.png'),
        ({"input": "?", "images": "large.png"}, "has 101 x 101 pixels, more than 10000"),
        ({"input": "?", "images": "http://127.0.0.1/a.png"}, "--media_urls"),
        ({"input": "?", "audios": "a.png"}, 'the audio under its key "audios": audio a.png'),
        ({"input": "say <|IMAGE|>"}, "a text holds <|IMAGE|>, which stands for media alone"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "<|AUDIO|>"}]}]}, "a text holds <|AUDIO|>"),
        ({"input": "\ud800", "images": "a.png"}, "a text is not valid Unicode"),
    ],
)
def test_a_row_that_the_model_cannot_read_is_refused_by_name(load: Load, row: dict[str, Any], reason: str) -> None:
    loaded = load({"input": "good"}, row)
    assert [prompt.uid for prompt in loaded.sources[0]] == ["rows.jsonl:1"]
    assert reason in loaded.rejected[0].reason


def test_rows_of_the_hub_open_files_below_the_media_root_alone(
    tmp_path: Path, load: Load, encoder: MediaEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "outside.png"
    rows = [
        {"input": "bytes", "images": {"bytes": picture(), "path": "no/such.png"}},
        *({"input": "path", "images": image} for image in (str(secret), {"bytes": None, "path": str(secret)})),
        {"input": [{"role": "user", "content": [{"type": "video", "video": [str(secret)]}]}], "images": None},
    ]

    def read(**flags: Any) -> LoadedPrompts:
        found = Table("hub[test]", ("hub[test]",), Keys(), lambda: iter([Row(i, row) for i, row in enumerate(rows, 1)]))
        monkeypatch.setattr(prompts, "open_source", lambda *args, **options: [found])
        return load_prompts(PromptSpec("hub", apply_chat_template=True, **flags), encoder.adapter.tokenizer, encoder)

    loaded = read()
    assert [item.row for item in loaded.rejected] == [2, 3, 4]
    assert all("names a file, and its data lies in no folder" in item.reason for item in loaded.rejected)
    assert all("(--media_root)" in item.reason for item in loaded.rejected)
    assert read(media_root=str(tmp_path)).rejected == []


def test_a_media_root_opens_another_folder(tmp_path: Path, load: Load) -> None:
    row = {"input": "?", "images": "outside.png"}
    assert len(load({"input": "good"}, row).rejected) == 1
    assert load({"input": "good"}, row, media_root=str(tmp_path)).rejected == []


def test_a_template_that_refuses_a_conversation_says_so(encoder: MediaEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder.adapter.processor, "chat_template", "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(MediaError, match="is refused by the chat template: roles must alternate"):
        encoder.encode([Message("user", "x")], [])


def test_geometry_as_it_is_published_is_read(tmp_path: Path, encoder: MediaEncoder) -> None:
    figure = {"images": [{"bytes": picture(), "path": None}], "problem": "<image>Find x.", "answer": "2 \\sqrt { 221 }"}
    parquet.write_table(
        pa.Table.from_pylist([figure, {**figure, "images": [{"bytes": b"no", "path": None}]}]),
        (tmp_path / "geo.parquet"),
    )
    spec = PromptSpec(f"geo3k:{tmp_path / 'geo.parquet'}", apply_chat_template=True)
    loaded = load_prompts(spec, encoder.adapter.tokenizer, encoder)
    (prompt,) = loaded.sources[0]
    assert (prompt.label, prompt.route, len(prompt.media)) == ("2 \\sqrt { 221 }", "geo3k", 1)
    assert prompt.token_ids.count(encoder.adapter.kinds["image"]) > 0
    assert [(item.row, item.content["problem"]) for item in loaded.rejected] == [(2, "<image>Find x.")]

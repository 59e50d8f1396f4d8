"""Adapters apart from what the suite in conformance/ shows for every family."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightrft_core import Media, Message
from lightrft_multimodal.adapters import MediaAdapter, family_of, load_adapter
from lightrft_multimodal.adapters.recent import Recent
from lightrft_multimodal.adapters.registry import FAMILIES
from lightrft_multimodal.media import MediaError
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni, build_qwen2_5_vl, build_qwen2_audio

from .conformance.prompts import Clip, Picture, Sound
from .tiny.qwen import build_qwen3_vl

SIZES = Sizes(hidden_size=32, num_attention_heads=2, num_key_value_heads=1, tower_size=16, max_seconds=2)


def adapter_of(folder: Path) -> MediaAdapter:
    adapter = load_adapter(folder)
    assert adapter is not None
    return adapter


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen2_5_omni(tmp_path_factory.mktemp("thinker"), SIZES)


def encoded(adapter: MediaAdapter, *media: Media) -> tuple[int, ...]:
    return adapter.encode([Message("user", [{"type": medium.modality} for medium in media])], media)[1]


def test_a_model_of_text_has_no_adapter(tmp_path: Path, tiny_model: Any) -> None:
    tiny_model().save_pretrained(tmp_path)
    assert load_adapter(tmp_path) is None


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_every_family_of_the_table_loads(model_type: str) -> None:
    family = family_of(model_type)
    assert family is not None and family.towers


def test_another_package_adds_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "foreign-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[lightrft.adapters]\nforeign_vl = foreign_vl:FAMILY\nnone = foreign_vl:A\n"
    )
    (tmp_path / "foreign_vl.py").write_text(
        "from lightrft_multimodal.adapters import Family, image_text_model\n"
        "FAMILY = Family(model_class=image_text_model, towers=(), placeholders=lambda config: {'image': 7})\nA = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    family = family_of("foreign_vl")
    assert family is sys.modules["foreign_vl"].FAMILY
    assert family_of("unheard_of") is None
    with pytest.raises(TypeError, match="is no Family"):
        family_of("none")


def test_a_whole_omni_checkpoint_gives_its_thinker(thinker: Path, tmp_path: Path) -> None:
    alone = adapter_of(thinker)
    for path in thinker.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((thinker / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "model_type": "qwen2_5_omni",
                "architectures": ["Qwen2_5OmniModel"],
                "thinker_config": config,
                "enable_audio_output": True,
            }
        )
    )
    weights = {f"thinker.{name}": weight for name, weight in load_file(thinker / "model.safetensors").items()}
    save_file(weights | {"talker.codec.weight": torch.ones(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    whole = adapter_of(tmp_path)
    assert whole.kinds == alone.kinds and whole.placeholders == alone.placeholders
    expected = alone.load_model(thinker).state_dict()
    loaded = whole.load_model(tmp_path).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())
    assert encoded(whole, Picture(1, 16, 16)) == encoded(alone, Picture(1, 16, 16))


def test_sounds_the_model_would_cut_mistime_or_not_hear_are_refused(thinker: Path) -> None:
    adapter = adapter_of(thinker)
    assert adapter.sampling_rate == 16_000
    with pytest.raises(MediaError, match=r"2\.1 s long and the model hears 2 s at once"):
        encoded(adapter, Sound(1, 33_000))
    with pytest.raises(MediaError, match="8000 samples a second and the model hears 16000"):
        encoded(adapter, Sound(1, 4000, sampling_rate=8000))
    with pytest.raises(MediaError, match="100 samples is too short"):
        encoded(adapter, Sound(1, 100))
    assert adapter.placeholders[-1] in encoded(adapter, Sound(1, 640))


def test_what_a_processor_refuses_is_an_error_of_media(thinker: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"refuses the media: absolute aspect ratio"):
        encoded(adapter_of(thinker), Picture(1, 1000, 2))
    with pytest.raises(MediaError, match=r"Qwen3VLProcessor refuses the media"):
        encoded(adapter_of(build_qwen3_vl(tmp_path, SIZES)), Clip(1, 1, 16, 16))


def test_the_seconds_between_frames_are_those_of_each_video(tmp_path: Path) -> None:
    adapter = adapter_of(build_qwen3_vl(tmp_path, SIZES))
    ids = encoded(adapter, Clip(1, 4, 16, 16, fps=2.0), Clip(2, 4, 16, 16, fps=0.5))
    text = adapter.tokenizer.decode(ids)
    assert [text.count(f"<{seconds} seconds>") for seconds in ("0.2", "1.2", "1.0", "5.0")] == [1, 1, 1, 1]


@pytest.mark.parametrize("fps", [8.0, 1.0, 0.5])
def test_text_behind_a_video_comes_after_its_last_moment(tmp_path: Path, fps: float) -> None:
    adapter = adapter_of(build_qwen2_5_vl(tmp_path, SIZES))
    clip = Clip(1, 6, 24, 16, fps=fps)
    ids = torch.tensor([encoded(adapter, clip)])
    seen = adapter.perceive(adapter.load_model(tmp_path), ids, torch.ones_like(ids), [(clip,)])
    first, tokens = int((seen.places[0] >= 0).nonzero()[0]), 3 * 2 * 3
    seconds_of_two_frames, positions_a_second = 2 / fps, 2
    moments = [int(grid * seconds_of_two_frames * positions_a_second) for grid in range(3)]
    expected = [(first + moment, first + y, first + x) for moment in moments for y in range(2) for x in range(3)]
    assert seen.positions[:, 0, first : first + tokens].T.tolist() == [list(place) for place in expected]
    behind = 1 + max(max(place) for place in expected)
    rest = ids.shape[1] - first - tokens
    assert seen.positions[:, 0, first + tokens :].tolist() == [list(range(behind, behind + rest))] * 3
    assert seen.following.tolist() == [behind + rest]


def test_processed_media_are_kept_as_long_as_they_fit(thinker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = adapter_of(thinker)
    pictures = [(Picture(number, 16, 16),) for number in range(3)]
    size = sum(tensor.nbytes for tensor in adapter.inputs(pictures[0]).values())
    adapter._inputs.max_bytes = 2 * size
    for picture in pictures:
        adapter.inputs(picture)
    runs: list[object] = []
    process = adapter._process
    monkeypatch.setattr(adapter, "_process", lambda text, media: runs.append(media) or process(text, media))
    for picture in (pictures[2], pictures[1], pictures[0]):
        adapter.inputs(picture)
    assert runs == [pictures[0]]


def test_what_was_not_asked_for_the_longest_leaves_first() -> None:
    recent = Recent[str](10, len)
    recent.keep("a", "aaaa")
    recent.keep("b", "bbbb")
    assert recent.get("a") == "aaaa"
    recent.keep("c", "cccc")
    assert [recent.get(key) for key in "abc"] == ["aaaa", None, "cccc"]
    recent.keep("a", "a")
    recent.keep("d", "ddddd")
    assert [recent.get(key) for key in "acd"] == ["a", "cccc", "ddddd"] and recent.bytes == 10
    recent.keep("e", "e" * 11)
    assert recent.get("e") is None and recent.bytes <= 10
    recent.clear()
    assert recent.get("d") is None and recent.bytes == 0


def test_no_layer_of_a_tower_is_left_out_by_chance(tmp_path: Path) -> None:
    build_qwen2_audio(tmp_path, SIZES)
    config = json.loads((tmp_path / "config.json").read_text())
    config["audio_config"] |= {"encoder_layerdrop": 0.9, "dropout": 0.5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    adapter = adapter_of(tmp_path)
    model = adapter.load_model(tmp_path).train()
    ids = torch.tensor([encoded(adapter, Sound(1, 4000))])
    once, again = (adapter.perceive(model, ids, torch.ones_like(ids), [(Sound(1, 4000),)]) for _ in range(2))
    assert torch.equal(once.features, again.features)


def test_tiny_models_are_made_of_their_seed(tmp_path: Path) -> None:
    folders = [build_qwen2_5_vl(tmp_path / name, SIZES, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    name = "visual.patch_embed.proj.weight"
    assert torch.equal(weights[0][name], weights[1][name]) and not torch.equal(weights[0][name], weights[2][name])
    tokenizers = [(folder / "tokenizer.json").read_bytes() for folder in folders]
    assert tokenizers[0] == tokenizers[1] == tokenizers[2]


def test_tiny_tokenizers_learn_words_from_texts_and_keep_digits_apart(tmp_path: Path) -> None:
    adapter = adapter_of(build_qwen2_5_vl(tmp_path, Sizes(texts=("a red circle",) * 3, vocab_size=400)))
    encode = adapter.tokenizer.encode
    assert len(encode(" circle")) == 1 and len(encode(" triangle")) > 3 and len(encode("123")) == 3
    text = "Ünïcode 12 red\n<|im_end|>"
    assert adapter.tokenizer.decode(encode(text)) == text


def test_tiny_templates_mark_what_the_assistant_says(tmp_path: Path) -> None:
    adapter = adapter_of(build_qwen2_5_vl(tmp_path, SIZES))
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "One?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Two."}]},
        {"role": "user", "content": [{"type": "text", "text": "Three?"}]},
    ]
    marked = adapter.processor.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, return_tensors="pt"
    )
    said = marked["input_ids"][0][torch.as_tensor(marked["assistant_masks"])[0].bool()]
    assert adapter.tokenizer.decode(said) == "Two.<|im_end|>"

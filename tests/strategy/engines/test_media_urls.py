"""Media on their way to a server lose nothing."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO

import numpy as np
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Request
from lightrft_strategy.engines.media_urls import image_url, sound_url
from lightrft_strategy.engines.sglang.requests import generate_body
from lightrft_strategy.engines.vllm.requests import body_of, prompt_of


def data_of(url: str, kind: str) -> BytesIO:
    start, _, rest = url.partition(",")
    assert start == f"data:{kind};base64"
    return BytesIO(b64decode(rest, validate=True))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_an_image_arrives_pixel_for_pixel(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    arrived = Image.open(data_of(image_url(Image.fromarray(pixels)), "image/png"))
    assert arrived.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(arrived), pixels)


@given(st.integers(1, 500), st.sampled_from([8000, 16_000, 44_100]), st.integers(0, 99))
def test_a_sound_arrives_sample_for_sample(length: int, rate: int, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(0, 2, length).astype(np.float32)
    arrived, told = soundfile.read(data_of(sound_url((samples, rate)), "audio/wav"), dtype="float32")
    assert told == rate
    np.testing.assert_array_equal(arrived, samples)


IMAGES = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
SOUND = (np.zeros(8, np.float32), 16_000)
SEEN = Request(
    (1, 2, 3),
    SamplingParams(max_new_tokens=4),
    9,
    {"image": IMAGES, "audio": [SOUND]},
    {"image": ["a", "b"], "audio": ["c"]},
)


def test_vllm_knows_media_by_their_hashes_in_reading_order() -> None:
    prompt = prompt_of(SEEN)
    assert prompt["multi_modal_data"] == {"image": IMAGES, "audio": [SOUND]}
    assert prompt["multi_modal_uuids"] == {"image": ["a", "b"], "audio": ["c"]}
    body = body_of(SEEN, (7,))
    assert [(part["type"], part["uuid"]) for part in body["content_parts"]] == [
        ("image_url", "a"),
        ("image_url", "b"),
        ("audio_url", "c"),
    ]
    assert [part["url"] for part in body["content_parts"]] == [*map(image_url, IMAGES), sound_url(SOUND)]
    assert body["return_token_ids"] is True


def test_sglang_is_given_each_modality_by_itself() -> None:
    body = generate_body(SEEN, (7,))
    assert body["image_data"] == [*map(image_url, IMAGES)]
    assert body["audio_data"] == [sound_url(SOUND)]


def test_a_prompt_of_text_is_asked_for_as_ever() -> None:
    text = Request((1, 2), SamplingParams(max_new_tokens=4), 9)
    assert set(body_of(text, ())) == {"token_ids", "sampling_params"}
    assert set(prompt_of(text)) == {"prompt_token_ids"}
    assert set(generate_body(text, ())) == {"input_ids", "sampling_params", "return_logprob"}

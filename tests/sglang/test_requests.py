from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from sglang.srt.entrypoints.api_contract import generate_contract_error
from sglang.srt.managers.io_struct import GenerateReqInput
from sglang.srt.sampling.sampling_params import TOP_K_ALL
from sglang.srt.sampling.sampling_params import SamplingParams as SglangLaw
from sglang.srt.utils.common import load_audio, load_image

from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Request
from lightrft_strategy.engines.sglang.requests import completion, generate_body, score_body, scores

LAWS = [
    SamplingParams(max_new_tokens=7),
    SamplingParams(temperature=0, top_k=5, stop=("a", "b")),
    SamplingParams(temperature=0.5, top_k=20, min_new_tokens=3, stop_token_ids=(9,)),
    SamplingParams(temperature=10.0, logit_bias={4: -1.5}),
]


def in_sglang(law: SamplingParams, seed: int = 2**63 - 1) -> tuple[dict[str, Any], SglangLaw]:
    body = generate_body(Request((1, 2, 3), law, seed), [2])
    return body, SglangLaw(**body["sampling_params"])


@pytest.mark.parametrize("law", LAWS)
def test_every_law_passes_sglangs_own_checks(law: SamplingParams) -> None:
    body, theirs = in_sglang(law)
    assert generate_contract_error(body) is None
    GenerateReqInput(**body).normalize_batch_and_arguments()
    theirs.verify(300)
    assert (theirs.max_new_tokens, theirs.min_new_tokens) == (law.max_new_tokens, law.min_new_tokens)
    assert theirs.stop_token_ids == {2, *law.stop_token_ids}
    assert theirs.stop_strs == (list(law.stop) or None)
    assert theirs.sampling_seed == 2**63 - 1
    assert {int(token): bias for token, bias in (theirs.logit_bias or {}).items()} == law.logit_bias


def test_stop_tokens_count_because_ignore_eos_is_off() -> None:
    assert not in_sglang(LAWS[0])[1].ignore_eos


def test_all_tokens_and_greedy() -> None:
    assert in_sglang(LAWS[0])[1].top_k == TOP_K_ALL
    assert (in_sglang(LAWS[1])[1].temperature, in_sglang(LAWS[1])[1].top_k) == (1.0, 1)


def test_the_sampling_mask_is_asked_for_where_the_law_truncates() -> None:
    assert [in_sglang(law)[0].get("return_sampling_mask", False) for law in LAWS] == [False, False, True, False]


def test_scores_are_asked_for_from_the_first_token_on() -> None:
    body = score_body([1, 2, 3])
    assert generate_contract_error(body) is None
    GenerateReqInput(**body).normalize_batch_and_arguments()
    assert scores({"meta_info": {"input_token_logprobs": [[None, 1, None], [-0.5, 2, None], [-1.5, 3, None]]}}) == [
        -0.5,
        -1.5,
    ]


COLOURS = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "green")]
SOUNDS = [(np.sin(np.arange(count, dtype=np.float32)), 16_000) for count in (800, 1600)]


@pytest.mark.parametrize(
    "media",
    [{"image": COLOURS[:1]}, {"image": COLOURS}, {"audio": SOUNDS[:1]}, {"audio": SOUNDS, "image": COLOURS[:2]}],
    ids=["one image", "several images", "a sound", "sounds and images"],
)
def test_media_pass_sglangs_own_checks_and_arrive_as_they_are(media: dict[str, list[Any]]) -> None:
    body = generate_body(Request((1, 2, 3), LAWS[0], 5, media), [2])
    assert generate_contract_error(body) is None
    theirs = GenerateReqInput(**body)
    theirs.normalize_batch_and_arguments()
    assert theirs.contains_mm_input()
    assert theirs.input_ids == [1, 2, 3]
    for url, image in zip(theirs.image_data or [], media.get("image", []), strict=True):
        assert np.array_equal(np.asarray(load_image(url, False)[0].convert("RGB")), np.asarray(image))
    for url, (samples, rate) in zip(theirs.audio_data or [], media.get("audio", []), strict=True):
        assert np.array_equal(load_audio(url, rate), samples)


def test_how_many_tokens_sglang_read_is_told() -> None:
    said = answer({"type": "stop", "matched": 2}, [4, 2])
    said["meta_info"]["prompt_tokens"] = 17
    assert completion(said, Request((1,), SamplingParams(), 0), [2]).prompt_tokens == 17


def answer(finish: dict[str, Any], tokens: list[int], recorded: list[Any] | None = None) -> dict[str, Any]:
    recorded = [[-1.0, token, None] for token in tokens] if recorded is None else recorded
    return {"output_ids": tokens, "meta_info": {"finish_reason": finish, "output_token_logprobs": recorded}}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer({"type": "abort", "message": "queue full"}, []), "queue full"),
        (answer({"type": "stop", "matched": "NaN happened"}, [4]), "not numbers"),
        (answer({"type": "stop", "matched": 7}, [4, 7]), "token 7"),
        (answer({"type": "length", "length": 1}, [4], [[-1.0, 5, None]]), "do not belong"),
        (answer({"type": "length", "length": 1}, [4], [[None, 4, None]]), "do not belong"),
        (answer({"type": "length", "length": 1}, [4], []), "do not belong"),
    ],
)
def test_an_answer_that_cannot_be_trusted_is_an_error(given: dict[str, Any], words: str) -> None:
    refused = completion(given, Request((1,), SamplingParams(), 0), [2])
    assert words in refused.error and not refused.token_ids


def test_an_answer_that_can() -> None:
    taken = completion(answer({"type": "stop", "matched": 2}, [4, 2]), Request((1,), SamplingParams(), 0), [2])
    assert (taken.token_ids, taken.logprobs, taken.stopped, taken.error) == ([4, 2], [-1.0, -1.0], True, "")

"""Whatever is sent to a reward service is judged or refused by name: the schema says which. Nothing breaks it."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lightrft_rewards.service.requests import BadRequest, read_body, read_request
from lightrft_rewards.service.schema import ANSWER_SCHEMA, REQUEST_SCHEMA

from .served import SECRET, Scripted, client_of, request, running

REQUEST, ANSWER = Draft202012Validator(REQUEST_SCHEMA), Draft202012Validator(ANSWER_SCHEMA)
RESULTS = Path(__file__).parents[2] / "docs/benchmarks/reward_service_fuzz.json"

WHOLE: dict[str, Any] = {
    "version": 1,
    "request_id": "r",
    "deadline": 5.0,
    "samples": [
        {
            "id": "0",
            "name": "row 3, sample 1",
            "prompt": "2+2=",
            "response": SECRET,
            "label": ["4"],
            "route": "math",
            "messages": [
                {"role": "system", "content": "add"},
                {"role": "user", "content": [{"type": "text", "text": "2+2="}, {"type": "image", "sha256": "0"}]},
            ],
            "media": [{"modality": "image", "data": "aGVsbG8="}],
        },
        {"id": "1", "response": ""},
    ],
}
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1.0, 0.5, 1e300, 10**30, "", "0", "text", "x" * 300, [], [None], [1], {}),
    *({"type": "text"}, {"a": 1}, [[]], ["a"], [{}], {"modality": "video"}, "\ud800"),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything inside."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from paths(inner, (*path, key))


def mutated(random: Random) -> Any:
    """A whole request with a few things replaced, removed, added or doubled."""
    content = copy.deepcopy(WHOLE)
    for _ in range(random.randint(1, 3)):
        path = random.choice([path for path in paths(content) if path])
        holder = content
        for key in path[:-1]:
            holder = holder[key]
        match random.randrange(4):
            case 0:
                holder[path[-1]] = copy.deepcopy(random.choice(JUNK))
            case 1:
                del holder[path[-1]]
            case 2 if isinstance(holder, dict):
                holder[random.choice(["extra", "modality", "text", "id", "version", "frames"])] = random.choice(JUNK)
            case _ if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[path[-1]]))
        if not isinstance(content, dict) or not content:
            break
    return content


def has_own_ids(content: Any) -> bool:
    ids = [sample["id"] for sample in content["samples"]]
    return len(set(ids)) == len(ids)


@settings(max_examples=200)
@given(st.integers(0, 2**32))
def test_what_the_schema_allows_is_read_and_nothing_else(seed: int) -> None:
    content = mutated(Random(seed))
    try:
        read_request(content)
        read = True
    except BadRequest:
        read = False
    allowed = REQUEST.is_valid(content) and has_own_ids(content)
    assert read == allowed, list(REQUEST.iter_errors(content))


def test_a_whole_request_is_read_as_it_stands() -> None:
    assert REQUEST.is_valid(WHOLE)
    found = read_request(read_body(json.dumps(WHOLE).encode()))
    assert (found.request_id, found.deadline, len(found.asked)) == ("r", 5.0, 2)
    sample = found.asked[0].sample
    assert (sample.prompt, sample.response, sample.label, sample.route) == ("2+2=", SECRET, ["4"], "math")
    assert (sample.name, found.asked[1].sample.name) == ("row 3, sample 1", "sample 1")
    assert list(sample.messages) == WHOLE["samples"][0]["messages"]
    assert list(found.asked[0].media) == WHOLE["samples"][0]["media"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2 is not spoken here: send 1"),
        ({"version": True}, "version True"),
        ({"verison": 1}, "unknown field 'verison'"),
        ({"samples": []}, "send 1 to 1024 samples, not 0"),
        ({"samples": {}}, "samples: a list is expected, not an object"),
        ({"samples": [{"id": "a", "response": 5}]}, "samples[0].response: a text is expected, not a number"),
        ({"samples": [{"id": "a"}]}, "samples[0].response is missing"),
        ({"samples": [{"response": "a"}]}, "samples[0].id: a text of 1 to 200"),
        ({"samples": [{"id": "a", "response": ""}] * 2}, "samples[1].id is that of samples[0] too"),
        ({"samples": [{"id": "a", "response": "", "lable": 1}]}, "unknown field 'lable'"),
        (
            {"samples": [{"id": "a", "response": "", "media": [{"modality": "smell"}]}]},
            "media[0].modality: send one of",
        ),
        (
            {"samples": [{"id": "a", "response": "", "messages": [{"role": "user"}]}]},
            "samples[0].messages[0].content is missing",
        ),
        (
            {"samples": [{"id": "a", "response": "", "messages": [{"role": "u", "content": [{"type": "image_url"}]}]}]},
            "samples[0].messages[0].content[0].type: send one of text, image, video, audio",
        ),
        ({"deadline": 0}, "deadline: send seconds above 0"),
        ({"deadline": float("inf")}, "deadline: send seconds above 0"),
        ({"request_id": ""}, "request_id: a text of 1 to 200 characters"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_request(request("a") | change)
    assert words in str(refused.value)


BODIES = {
    "nothing": b"",
    "no JSON": b"{" + SECRET.encode(),
    "no object": b"[1, 2]",
    "a text": b'"' + SECRET.encode() + b'"',
    "no UTF-8": b'{"version": 1, "samples": "\xff"}',
    "UTF-16": json.dumps(WHOLE).encode("utf-16"),
    "too deep": b'{"version": 1, "samples": ' + b"[" * 200_000,
    "NaN": json.dumps(WHOLE | {"deadline": float("nan")}).encode(),
    "a number too long": b'{"version": ' + b"1" * 5000 + b"}",
    "two bodies": json.dumps(WHOLE).encode() * 2,
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(Scripted(), max_wait=0.0) as server, client_of(server) as opened:
        yield opened


def check(response: httpx.Response) -> int:
    """The code of an answer to something malformed, which must be refused by name or answered in full."""
    if response.status_code == 200:
        ANSWER.validate(response.json())
        return 200
    assert 400 <= response.status_code < 500, response.text
    assert len(response.json()["error"]) > 10
    assert SECRET not in response.text
    return response.status_code


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", ["/v1/score", "/get_reward"])
def test_bodies_that_cannot_be_read_are_refused_by_name(client: httpx.Client, path: str, name: str) -> None:
    assert check(client.post(path, content=BODIES[name])) == 400


def test_compressed_bodies_and_other_paths_and_methods_are_refused(client: httpx.Client) -> None:
    assert check(client.post("/v1/score", content=b"?", headers={"content-encoding": "gzip"})) == 415
    assert check(client.post("/v2/score", json=WHOLE)) == 404
    assert check(client.get("/v1/score")) == 405
    assert check(client.put("/health")) == 405


def damaged(seed: int) -> bytes:
    """A request that is wrong in what it says, in its bytes, or in both."""
    random = Random(seed)
    body = bytearray(json.dumps(mutated(random)).encode())
    if seed % 2:
        for _ in range(random.randint(1, 6)):
            place = random.randrange(len(body) + 1)
            match random.randrange(3):
                case 0:
                    body[place : place + 1] = bytes([random.randrange(256)])
                case 1:
                    del body[place : place + random.randint(1, 40)]
                case _:
                    body[place:place] = random.choice(
                        [b"{", b"]", b'"', b"\\u", b"\x00", b"1e999", b"null", b"\xed\xa0"]
                    )
    return bytes(body)


def fuzzed(client: httpx.Client, seeds: range) -> dict[str, int]:
    paths = ("/v1/score", "/get_reward", "/")
    codes = Counter(check(client.post(paths[seed % 7 // 3], content=damaged(seed))) for seed in seeds)
    return {str(code): count for code, count in sorted(codes.items())}


def test_nothing_that_is_sent_makes_it_fail(client: httpx.Client) -> None:
    codes = fuzzed(client, range(150))
    assert set(codes) == {"200", "400"}
    assert client.get("/health").status_code == 200


@pytest.mark.proof
def test_ten_thousand_malformed_requests(client: httpx.Client) -> None:
    codes = fuzzed(client, range(10_000))
    assert set(codes) == {"200", "400"}
    assert client.get("/health").status_code == 200
    RESULTS.write_text(json.dumps({"requests": 10_000, "answers_by_code": codes}, indent=2) + "\n")


# Dialects


def test_openrlhf_clients_are_answered_in_their_words(client: httpx.Client) -> None:
    body = {"query": ["<s>1+1=2", "1+1=22"], "prompts": ["1+1=", "1+1="], "labels": ["2", "2"]}
    answer = client.post("/get_reward", json=body)
    assert answer.status_code == 200
    extra = {"length": [1.0, 1.0], "seen": [2.0, 2.0]}
    assert answer.json() == {"rewards": [1.0, 2.0], "scores": [0.5, 0.5], "extra_logs": extra}
    assert client.post("/", json={"query": ["abc"]}).json()["rewards"] == [3.0]


def test_clients_of_the_first_lightrft_are_answered_in_theirs(client: httpx.Client) -> None:
    body = {"queries": ["1+1=2"], "prompts": ["1+1="], "references": ["2"]}
    assert client.post("/", json=body).json() == {"rewards": [1.0]}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            {"query": ["pa", "perror"], "prompts": ["p", "p"]},
            500,
            "1 of 2 could not be judged; query[1]: query[1] is not",
        ),
        ({"queries": ["plate"], "prompts": ["p"]}, 500, "queries[0]"),
        ({"queries": ["pa"], "prompts": ["p"], "images": [["?"]]}, 422, "base64"),
        ({"query": ["abc"], "prompts": ["x"]}, 400, "query[0] does not hold prompts[0]"),
        ({"query": ["abc"], "prompts": []}, 400, "there are 0, and 1 query"),
        ({"query": ["abc"], "labels": "4"}, 400, "labels: a list of 1 is expected"),
        ({"query": "abc"}, 400, "query: a list is expected, not a text"),
        ({"query": [None]}, 400, "query[0]: a text is expected, not null"),
        ({"queries": ["a"], "images": ["b"]}, 400, "images[0]: a list of images"),
        ({"samples": []}, 400, "our own requests go to /v1/score"),
    ],
)
def test_where_a_dialect_has_no_place_for_a_failure_there_is_no_reward(
    client: httpx.Client, body: dict[str, Any], code: int, words: str
) -> None:
    answer = client.post("/get_reward", json=body)
    assert answer.status_code == code
    assert "rewards" not in answer.json()
    assert words in answer.json()["error"]


def test_the_schemas_are_schemas_and_the_service_shows_them(client: httpx.Client) -> None:
    Draft202012Validator.check_schema(REQUEST_SCHEMA)
    Draft202012Validator.check_schema(ANSWER_SCHEMA)
    post = client.get("/openapi.json").json()["paths"]["/v1/score"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == REQUEST_SCHEMA
    assert post["responses"]["200"]["content"]["application/json"]["schema"] == ANSWER_SCHEMA

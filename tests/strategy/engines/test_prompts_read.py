"""An engine that expands media itself must read the trainer's prompt; what it cannot be given is refused beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lightrft_core import FirstToken, Prompt, SamplingParams
from lightrft_strategy.engines.backend import Completion, Request
from lightrft_strategy.engines.refusals import unreadable
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.engines.sync.probe import Probe
from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.engines.sync.receipt import Tolerance
from lightrft_strategy.perception import EngineMedia


@dataclass(frozen=True)
class Shape:
    sha256: str
    modality: str = "image"


class Eyes:
    """An adapter whose placeholder is 5, written once for each image."""

    placeholders = (5,)

    def for_engine(self, prompt: Prompt) -> EngineMedia:
        return EngineMedia((1, 5, 2), {"image": [medium.sha256 for medium in prompt.media]})


class Reads:
    """Answers with one token and says that it read a prompt of these tokens, or of so many."""

    name = "reads"

    def __init__(self, said: dict[str, Any]) -> None:
        self.said, self.asked, self.cannot = said, list[Request](), dict[str, str]()

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        for index, request in enumerate(requests):
            more = len(request.token_ids) - 3
            said = {"prompt_tokens": count + more} if (count := self.said.get("prompt_tokens")) else dict(self.said)
            if more and "prompt_ids" in said:
                said["prompt_ids"] = [*said["prompt_ids"], *request.token_ids[3:]]
            self.asked.append(request)
            done(index, Completion([9], [-1.0], stopped=False, **said))


PROMPT = Prompt("row", (), "", (1, 5, 5, 5, 2), media=(Shape("a"),))


class Blind(Eyes):
    """An adapter whose processor refuses one prompt's media."""

    def for_engine(self, prompt: Prompt) -> EngineMedia:
        if prompt.uid == "row":
            raise ValueError("image a cannot be decoded")
        return super().for_engine(prompt)


@pytest.fixture
def ask(tiny_model: Callable[..., Any]) -> Callable[..., Any]:
    """ask(said, law) -> (the prompt's group, what the backend was asked)."""

    def run(said: dict[str, Any], law: SamplingParams) -> Any:
        backend: Any = Reads(said)
        adapter: Any = Eyes()
        probe = Probe(range(9), Tolerance(1e-4, 1e-4))
        source = ModelWeights(tiny_model())
        engine = ServedEngine(backend, source, lambda rows: [""] * len(rows), probe=probe, seed=1, adapter=adapter)
        (group,) = engine.generate([PROMPT], law, step=1)
        return group, backend.asked

    return run


ONE = SamplingParams(max_new_tokens=1)
LAWS = [ONE, replace(ONE, max_new_tokens=2, first_token=FirstToken())]


@pytest.mark.parametrize("law", LAWS, ids=["one law", "bold first token"])
@pytest.mark.parametrize(
    ("said", "honest"),
    [
        ({}, True),
        ({"prompt_ids": [1, 5, 5, 5, 2]}, True),
        ({"prompt_ids": [1, 6, 6, 6, 2]}, True),
        ({"prompt_tokens": 5}, True),
        ({"prompt_ids": [1, 5, 5, 2]}, False),
        ({"prompt_ids": [1, 5, 5, 5, 3]}, False),
        ({"prompt_ids": [1, 5, 5, 5, 2, 2]}, False),
        ({"prompt_tokens": 4}, False),
    ],
    ids=str,
)
def test_answers_to_another_prompt_than_the_trainers_are_none(
    ask: Callable[..., Any], said: dict[str, Any], honest: bool, law: SamplingParams
) -> None:
    group, _ = ask(said, law)
    assert bool(group.rollouts) == honest
    assert honest or "where the trainer has 5" in group.error


def test_media_that_cannot_be_shown_cost_their_group_alone(tiny_model: Callable[..., Any]) -> None:
    backend: Any = Reads({})
    adapter: Any = Blind()
    probe = Probe(range(9), Tolerance(1e-4, 1e-4))
    source = ModelWeights(tiny_model())
    engine = ServedEngine(backend, source, lambda rows: [""] * len(rows), probe=probe, seed=1, adapter=adapter)
    lost, kept = engine.generate([PROMPT, replace(PROMPT, uid="other")], ONE, step=1)
    assert lost.rollouts == [] and lost.error.startswith("row: reads cannot be shown") and "image a" in lost.error
    assert len(kept.rollouts) == 1 and kept.error == "" and len(backend.asked) == 1


def test_what_is_asked_for_holds_the_media_their_hashes_and_the_tokens_that_are_never_drawn(
    ask: Callable[..., Any],
) -> None:
    _, asked = ask({}, LAWS[1])
    assert [request.token_ids for request in asked] == [(1, 5, 2), (1, 5, 2, 9)]
    assert [(request.media, request.hashes) for request in asked] == [({"image": ["a"]}, {"image": ["a"]})] * 2
    assert [request.law.never for request in asked] == [(5,)] * 2


def test_weights_go_by_the_names_the_engine_knows_them_by(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model(tie_word_embeddings=True)
    names = [published.names for published in ModelWeights(model, renamed={"model.": "", "": "other."}).tensors()]
    assert ("embed_tokens.weight", "other.lm_head.weight") in names
    assert not [name for known in names for name in known if name.startswith("model.")]


def test_media_that_were_seen_to_be_answered_otherwise_are_refused_for_that_family_alone() -> None:
    filmed = {"video": 1, "image": 1}
    told = unreadable("vllm", served=False, media=filmed, model_type="qwen3_vl")
    assert "with videos otherwise than Transformers" in told
    assert unreadable("vllm", served=False, media={"image": 1}, model_type="qwen3_vl") == ""
    assert unreadable("vllm", served=False, media=filmed, model_type="qwen2_5_vl") == ""


@pytest.mark.parametrize(
    ("engine", "served", "media", "words"),
    [
        ("vllm", False, {"image": 2, "video": 1, "audio": 1}, ""),
        ("vllm", True, {"image": 2, "audio": 1, "video": 0}, ""),
        ("vllm", True, {"video": 1}, "as a server .*--engine_server.* cannot be given the videos"),
        ("sglang", False, {"video": 1}, "--engine_type sglang cannot be given the videos"),
        ("sglang", True, {"image": 3}, ""),
        ("embedded", False, {"video": 1}, ""),
    ],
)
def test_media_that_an_engine_would_read_otherwise_are_refused(
    engine: str, served: bool, media: dict[str, int], words: str
) -> None:
    told = unreadable(engine, served=served, media=media)
    if not words:
        assert told == ""
    else:
        with pytest.raises(ValueError, match=words):
            raise ValueError(told)

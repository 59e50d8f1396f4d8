"""What others' reward clients and servers say, with our samples in it and out of it.

OpenRLHF: {"query": [prompt + answer], "prompts": [...], "labels": [...]} is answered by {"rewards": [...],
"scores": [...], "extra_logs": {name: [...]}}. The first LightRFT: {"queries": [...], "prompts": [...],
"references": [...], "images": [[base64]]} is answered by {"rewards": [...]}. Neither has a place for a sample that
could not be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.service.media import sent_media
from lightrft_rewards.service.requests import BadRequest, read_deadline, texts
from lightrft_rewards.service.schema import MOST_SAMPLES, Asked, ScoreRequest


@dataclass(frozen=True)
class Dialect:
    """queries: the key of prompts with their answers, which tells the dialect; labels: that of labels; images: that of
    lists of images, "" if none travel."""

    name: str
    queries: str
    labels: str
    images: str = ""

    def body(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """A request that asks about the samples. Raises ValueError for media that the dialect cannot carry."""
        content: dict[str, Any] = {
            self.queries: [sample.prompt + sample.response for sample in samples],
            "prompts": [sample.prompt for sample in samples],
            self.labels: [sample.label for sample in samples],
        }
        media = [sent_media(sample) for sample in samples]
        for sample, own in zip(samples, media, strict=True):
            for medium in own:
                if not self.images or medium["modality"] != "image":
                    raise ValueError(f"{sample.name}: the dialect {self.name} carries no {medium['modality']}")
        if any(media):
            content[self.images] = [[medium["data"] for medium in own] for own in media]
        return content

    def read(self, content: Mapping[str, Any]) -> ScoreRequest:
        """What a client asks in it. Raises BadRequest."""
        queries = texts(content, self.queries, self.queries)
        if not 1 <= len(queries) <= MOST_SAMPLES:
            raise BadRequest(f"{self.queries}: send 1 to {MOST_SAMPLES} of them, not {len(queries)}")
        count = len(queries)
        prompts = texts(content, "prompts", "prompts") if content.get("prompts") is not None else [""] * count
        labels = self._column(content, self.labels, count)
        images = self._column(content, self.images, count)
        if len(prompts) != count:
            raise BadRequest(f"prompts: there are {len(prompts)}, and {count} {self.queries}")
        asked = tuple(
            Asked(
                str(place),
                Sample(
                    response=self._response(queries[place], prompts[place], place),
                    prompt=prompts[place],
                    label=labels[place],
                    name=f"{self.queries}[{place}]",
                ),
                self._media(images[place], place),
            )
            for place in range(count)
        )
        return ScoreRequest(uuid4().hex, asked, read_deadline(content))

    def answer(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """What it is answered. outcomes: all with a score."""
        rewards = [outcome.score for outcome in outcomes]
        if self.images:
            return {"rewards": rewards}
        accuracies = [outcome.accuracy for outcome in outcomes]
        numbers = [{**outcome.parts, **outcome.metrics} for outcome in outcomes]
        common = [name for name in numbers[0] if all(name in own for own in numbers)]
        logs = {name: [own[name] for own in numbers] for name in common}
        scores = {} if None in accuracies else {"scores": accuracies}
        return {"rewards": rewards, **scores, "extra_logs": logs}

    def _column(self, content: Mapping[str, Any], key: str, count: int) -> list[Any]:
        column = content.get(key) if key else None
        if column is None:
            return [None] * count
        if not isinstance(column, list) or len(column) != count:
            raise BadRequest(f"{key}: a list of {count} is expected, one for each of {self.queries}")
        return column

    def _response(self, query: str, prompt: str, place: int) -> str:
        """What follows the prompt. Special tokens may stand before it."""
        if not prompt:
            return query
        _, found, response = query.partition(prompt)
        if not found:
            raise BadRequest(f"{self.queries}[{place}] does not hold prompts[{place}], so its answer cannot be told")
        return response

    def _media(self, images: Any, place: int) -> tuple[dict[str, Any], ...]:
        if images is None:
            return ()
        if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
            raise BadRequest(f"{self.images}[{place}]: a list of images in base64 is expected")
        return tuple({"modality": "image", "data": image} for image in images)


OPENRLHF = Dialect("openrlhf", queries="query", labels="labels")
LIGHTRFT = Dialect("lightrft", queries="queries", labels="references", images="images")
DIALECTS = {dialect.name: dialect for dialect in (OPENRLHF, LIGHTRFT)}


def dialect_of(content: Mapping[str, Any]) -> Dialect:
    """Which dialect a body is in. Raises BadRequest if it is in none."""
    for dialect in DIALECTS.values():
        if dialect.queries in content:
            return dialect
    raise BadRequest('neither "query" (OpenRLHF) nor "queries" (LightRFT) is given; our own requests go to /v1/score')

"""Where in prompts the embeddings of their media stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightrft_multimodal.adapters.family import Inputs, Key, Seen


@dataclass(frozen=True)
class Row:
    """What there is for one prompt: embeddings by kind of placeholder, the inputs they are of, its media's key."""

    seen: Mapping[str, Seen]
    inputs: Inputs
    key: Key


def places_of(ids: Tensor, mask: Tensor, rows: Sequence[Row], kinds: Mapping[str, int]) -> tuple[Tensor, list[Seen]]:
    """[prompts, time] which of all embeddings stands at a token of ids, mask [prompts, time]; -1: none.

    Also all embeddings, in the order they are counted in; prompts with the same media share theirs.
    kinds: the token id of each kind of placeholder. Raises ValueError if a prompt's are not as many as its embeddings.
    """
    places = torch.full_like(ids, -1)
    together: list[Seen] = []
    first: dict[tuple[Key, str], int] = {}
    count = 0
    for number, (own, real, row) in enumerate(zip(ids, mask, rows, strict=True)):
        for kind, token in kinds.items():
            at, seen = (own == token) & real, row.seen.get(kind)
            embeddings = 0 if seen is None else len(seen.features)
            if int(at.sum()) != embeddings:
                raise ValueError(
                    f"prompt {number} of the batch has {int(at.sum())} {kind} tokens and its media have {embeddings} "
                    f"{kind} embeddings: it was cut, or its token ids are not those its media were encoded with"
                )
            if seen is not None and (row.key, kind) not in first:
                first[row.key, kind] = count
                together.append(seen)
                count += embeddings
            if embeddings:
                places[number, at] = torch.arange(embeddings) + first[row.key, kind]
    return places, together

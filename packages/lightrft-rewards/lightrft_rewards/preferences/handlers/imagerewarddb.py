"""ImageRewardDB (Xu et al. 2023, arXiv 2304.05977): several images made for a prompt, ranked and rated by experts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lightrft_rewards.preferences.checking import checked
from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Handler, Sheet
from lightrft_rewards.preferences.values import asked, has, medium, number_of
from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.rejected import Rejected, RowError
from lightrft_strategy.data.rows import Row

RATINGS = {"overall": "overall_rating", "alignment": "image_text_alignment_rating", "fidelity": "fidelity_rating"}
"""Head -> the column of an image's rating, where the data have it."""


@dataclass(frozen=True)
class _Image:
    """One row: an image among those of its prompt."""

    sheet: Sheet
    row: Row
    prompt: str
    path: str
    rank: float
    ratings: Mapping[str, float]


def _read(sheets: Sequence[Sheet]) -> Iterator[Comparison | Rejected]:
    """One comparison of all images of a prompt, whichever shards they stand in; its head score is the rank, 1 being the
    best and equal ranks a tie, and each rating that all its images have is a head of its own: overall, alignment,
    fidelity. An image whose prompt (id and text) has no other cannot be compared and is rejected."""
    images: dict[tuple[str, str], list[_Image]] = {}
    for sheet in sheets:
        for row in sheet.table.read():
            if isinstance(row, Rejected):
                yield row
                continue
            try:
                key, image = _image(sheet, row)
            except RowError as error:
                yield Rejected(sheet.table.source, row.number, str(error), row.whole)
                continue
            images.setdefault((key, image.prompt), []).append(image)
    for (key, _), group in images.items():
        try:
            yield checked(_together(key, group))
        except RowError as error:
            for image in group:
                yield Rejected(image.sheet.table.source, image.row.number, str(error), image.row.whole)


def _image(sheet: Sheet, row: Row) -> tuple[str, _Image]:
    content = row.content
    _, key = field_of(content, "prompt_id")
    ratings = {head: number_of(content, name) for head, name in RATINGS.items() if has(content, name)}
    prompt, path = text_of(content, "prompt"), text_of(content, "image_path")
    return str(key), _Image(sheet, row, prompt, path, number_of(content, "rank"), ratings)


def _together(key: str, group: Sequence[_Image]) -> Comparison:
    first = group[0]
    if len(group) < 2:
        raise RowError(f"is the one usable image of prompt {key}: two are compared")
    place = first.sheet.place(key)
    heads = [head for head in RATINGS if all(head in image.ratings for image in group)]
    return Comparison(
        place.uid,
        asked(first.row.content, "prompt"),
        tuple(medium("image", image.path, "image_path") for image in group),
        {
            "score": tuple(-image.rank for image in group),
            **{head: tuple(image.ratings[head] for image in group) for head in heads},
        },
        root=place.root(first.path, up=3),
    )


IMAGEREWARDDB = Handler(_read)

"""What `--train_data` says: a handler's name and a path, or a path of plain preference rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from lightrft_rewards.preferences.handler import Handler, row_by_row
from lightrft_rewards.preferences.handlers.audio_alpaca import audio_alpaca
from lightrft_rewards.preferences.handlers.genai_bench import genai_bench
from lightrft_rewards.preferences.handlers.genai_bench_video import GENAI_BENCH_VIDEO
from lightrft_rewards.preferences.handlers.hpdv3 import hpdv3
from lightrft_rewards.preferences.handlers.imagegen_cot import imagegen_cot
from lightrft_rewards.preferences.handlers.imagerewarddb import IMAGEREWARDDB
from lightrft_rewards.preferences.handlers.omnirewardbench import omnirewardbench
from lightrft_rewards.preferences.handlers.pku_saferlhf import pku_saferlhf
from lightrft_rewards.preferences.handlers.plain import plain
from lightrft_rewards.preferences.handlers.rapidata import rapidata_i2v, rapidata_t2v
from lightrft_rewards.preferences.handlers.videodpo import videodpo
from lightrft_rewards.preferences.handlers.videogen_rewardbench import videogen_rewardbench
from lightrft_rewards.preferences.keys import PreferenceKeys
from lightrft_strategy.data.rejected import PromptDataError
from lightrft_strategy.data.sources import split_sources

GROUP = "lightrft.preferences"
HANDLERS: dict[str, Handler] = {
    "audio-alpaca": row_by_row(audio_alpaca),
    "genai_bench": row_by_row(genai_bench),
    "genai_bench_video": GENAI_BENCH_VIDEO,
    "hpdv3": row_by_row(hpdv3),
    "imagegen-cot-reward-5k": row_by_row(imagegen_cot),
    "imagerewarddb": IMAGEREWARDDB,
    "omnirewardbench-t2a": row_by_row(omnirewardbench("audio")),
    "omnirewardbench-t2i": row_by_row(omnirewardbench("image")),
    "omnirewardbench-t2v": row_by_row(omnirewardbench("video")),
    "pku_saferlhf": row_by_row(pku_saferlhf),
    "rapidata-i2v": row_by_row(rapidata_i2v),
    "rapidata-t2v": row_by_row(rapidata_t2v),
    "videodpo": row_by_row(videodpo),
    "videogen-rewardbench": row_by_row(videogen_rewardbench),
}
_NAMED = re.compile(r"([A-Za-z][\w.-]+):(?!//)(.+)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """One source. whole: as it was given. title: the handler's name, or the end of the path of plain rows."""

    whole: str
    title: str
    path: str
    handler: Handler


def handler_names() -> list[str]:
    """Every name that may stand before a path, without importing any foreign package."""
    return sorted({*HANDLERS, *_foreign()})


def split_preferences(data: str, keys: PreferenceKeys) -> list[Source]:
    """The sources of a comma separated list.

    Raises PromptDataError for an empty one, a name that no handler has, or a foreign handler that is none.
    """
    return [_source(text, keys) for text in split_sources(data)]


def _source(text: str, keys: PreferenceKeys) -> Source:
    named = None if Path(text).expanduser().exists() else _NAMED.fullmatch(text)
    if named is None:
        return Source(text, Path(text.partition("?")[0]).name or text, text, plain(keys))
    return Source(text, named[1], named[2], _handler(named[1]))


def _handler(name: str) -> Handler:
    foreign = _foreign()
    if name in HANDLERS:
        if name in foreign:
            raise PromptDataError(
                f"the entry point {foreign[name].value} offers a handler {name!r}, but a built-in one has that name"
            )
        return HANDLERS[name]
    if name not in foreign:
        raise PromptDataError(
            f"there is no handler of preference data {name!r}: correct --prompt_data; before a colon may stand "
            f"{', '.join(handler_names())}, and a path alone is of plain rows"
        )
    loaded = foreign[name].load()
    if not isinstance(loaded, Handler):
        raise PromptDataError(f"the entry point {foreign[name].value} is no Handler of {Handler.__module__}")
    return loaded


def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}

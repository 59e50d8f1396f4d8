"""Formats of well-known data sets, by the name that `--prompt_data` gives before a colon: `geo3k:hiyouga/geometry3k`.

Each turns a row as it is published into one of LightRFT's own keys, whose route is the rule that judges it.
"""

from __future__ import annotations

from lightrft_strategy.data.formats.avqa import avqa
from lightrft_strategy.data.formats.geometry3k import geometry3k
from lightrft_strategy.data.formats.gsm8k import gsm8k
from lightrft_strategy.data.formats.muchomusic import muchomusic
from lightrft_strategy.data.rows import Keys, Reshape

FORMAT_KEYS = Keys()
FORMATS: dict[str, Reshape] = {"avqa": avqa, "geo3k": geometry3k, "gsm8k": gsm8k, "muchomusic": muchomusic}


def split_format(source: str) -> tuple[str, str]:
    """(format, file, folder or dataset) of a source; the format is "" where it names none."""
    name, colon, place = source.partition(":")
    return (name, place) if colon and name in FORMATS else ("", source)

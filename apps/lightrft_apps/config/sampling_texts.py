"""Flags of sampling that hold several values in one text, taken apart."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from lightrft_apps.config.errors import ConfigError


def stop_texts(stop: str | None) -> tuple[str, ...]:
    """The texts that end an answer: the one that `stop` is, or those of the JSON list that it holds.

    Raises ConfigError if it begins like a list and is none of texts, or if it names no text or an empty one.
    """
    if stop is None:
        return ()
    texts: Any = _json_list(stop) if stop.lstrip().startswith("[") else [stop]
    if texts is None or not all(isinstance(text, str) for text in texts):
        alone = json.dumps([stop], ensure_ascii=False)
        problem = 'write several texts as a JSON list, such as ["</answer>", "User:"], and this one alone as'
        raise ConfigError([f"--stop {stop}: {problem} {alone}"])
    if not texts or "" in texts:
        raise ConfigError([f"--stop {stop!r}: an empty text would end every answer at once: set it to a text"])
    return tuple(texts)


def _json_list(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def engine_urls(engine_url: str | None) -> tuple[str, ...]:
    """The servers of `engine_url`, in order, each http://host:port. Raises ConfigError for anything else."""
    if engine_url is None:
        return ()
    urls = [url.strip().rstrip("/") for url in engine_url.split(",")]
    problems = [
        f"--engine_url {engine_url}: {url!r} is no address: set it to http://host:port, several separated by commas"
        for url in urls
        if not _is_address(url)
    ]
    twice = sorted({url for url in urls if urls.count(url) > 1})
    problems += [f"--engine_url {engine_url}: {url} is there twice; keep one" for url in twice if url]
    if problems:
        raise ConfigError(problems)
    return tuple(urls)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.scheme == "http" and parts.hostname and parts.port) and url.endswith(f":{parts.port}")
    except ValueError:
        return False

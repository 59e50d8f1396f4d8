"""What a run of supervised training is made of, told by stopping it before its first step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from lightrft_apps.training import supervised

Build = Callable[..., dict[str, Any]]

CHAT = "{% for m in messages %}{{ m.content }}{{ '<end>' if m.role == 'assistant' else '=' }}{% endfor %}"


class Built(Exception):
    """Carries out of a run what its trainer would have been made of."""


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def copy_with_template(source: Path, folder: Path, template: str = CHAT) -> None:
    """A model's folder whose tokenizer has a chat template."""
    copytree(source, folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))


def two_models(source: Path, tiny_model: Callable[..., Any], root: Path) -> None:
    """root/model and root/other, of different weights."""
    for name, seed in (("model", 0), ("other", 1)):
        copy_with_template(source, root / name)
        tiny_model(seed, vocab_size=18, eos_token_id=0, initializer_range=0.1).save_pretrained(root / name)


def comparisons(first: int) -> list[dict[str, Any]]:
    """Five pairs of answers."""
    texts = [(f"{i}+1", f"{i + 1}" * i, f"{i}", "2") for i in range(first, first + 5)]
    return [dict(zip(("prompt", "chosen", "rejected", "other"), row, strict=True)) for row in texts]


def builder(
    start: Callable[..., object],
    parts: Callable[[Mapping[str, Any]], dict[str, Any]],
    base: Mapping[str, Any],
    places: Mapping[str, Path],
    new_folder: Callable[[str], Path],
) -> Build:
    """build(**flags) -> the parts of the trainer that start(**base | flags) makes; the same flags are built once.

    places: what <name> stands for in a flag.
    """

    def placed(value: Any) -> Any:
        for name, place in places.items() if isinstance(value, str) else ():
            value = value.replace(f"<{name}>", str(place))
        return value

    def stop(**trainer: Any) -> None:
        raise Built(parts(trainer))

    @cache
    def remembered(flags: str) -> dict[str, Any]:
        told = {"train_batch_size": 3, "progress": False, **base, **json.loads(flags)}
        flat = {name: placed(value) for name, value in told.items()}
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Built) as stopped:
            patch.setattr(supervised, "SupervisedTrainer", stop)
            start(**flat, output_dir=str(new_folder("run") / "run"))
        built: dict[str, Any] = stopped.value.args[0]
        return built

    return lambda **flags: remembered(json.dumps(flags))

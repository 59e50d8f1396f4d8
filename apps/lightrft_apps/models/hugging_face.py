"""Models and their tokenizers as folders that transformers, vLLM and SGLang load."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lightrft_apps.config.checks.places import new_folder
from lightrft_rewards.models.judges.form import JudgeForm
from lightrft_strategy.checkpoints import write_folder


def write_model(model: Any, tokenizer: Any, folder: Path, form: JudgeForm | None = None) -> None:
    """Write a Hugging Face model (of one with an adapter, the adapter alone) and its tokenizer into a folder.

    form: of a judge, how it is asked.
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if form is not None:
        form.write(folder)


def write_new(output: str, model: Any, tokenizer: Any, said: str, form: JudgeForm | None = None) -> None:
    """Write them into the folder that --output names, whole or not at all, and then tell the person what it holds."""
    fill_new(output, partial(write_model, model, tokenizer, form=form), said)


def fill_new(output: str, write: Callable[[Path], None], said: str) -> None:
    """The same of whatever `write` writes."""
    write_folder(new_folder(output), write)
    Console(stderr=True, highlight=False).print(f"{output}: {said}", markup=False, soft_wrap=True)

"""Another trainer's checkpoint as a Hugging Face folder: what `lightrft import` does with its flags."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps.config import ConfigError, ModelArgs
from lightrft_apps.config.commands.importing import ImportArgs
from lightrft_apps.models import loading
from lightrft_apps.models.hugging_face import write_new
from lightrft_strategy.foreign import open_foreign, take_weights
from lightrft_strategy.training.optimiser import set_precision


def import_checkpoint(args: ImportArgs) -> None:
    """Write the model and the tokenizer of --pretrain. Raises ConfigError, naming the file, for what cannot be read."""
    hide_progress_bars()
    folder, of = Path(args.checkpoint).expanduser(), ModelArgs(args.pretrain, trust_remote_code=args.trust_remote_code)
    try:
        foreign = open_foreign(folder)
    except ValueError as error:
        raise ConfigError([f"--checkpoint {error}"]) from error
    model, processor = loading.load_model(of), loading.load_senses(of).processor
    try:
        prefix = take_weights(model, foreign, args.prefix)
    except ValueError as error:
        raise ConfigError([f"--checkpoint {folder}: {error}"]) from error
    set_precision(model, getattr(torch, args.dtype))
    behind = f" behind {prefix!r}" if prefix else ""
    write_new(args.output, model, processor, f"weights of {foreign.kind} in {folder}{behind}, {args.dtype}")

"""An adapter added to its model, as a folder that stands alone: what `lightrft merge-lora` does with its flags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps.config import ConfigError, ModelArgs
from lightrft_apps.config.commands.merge_lora import MergeArgs
from lightrft_apps.models import loading
from lightrft_apps.models.hugging_face import write_new
from lightrft_rewards.models.judges.form import JudgeForm
from lightrft_strategy.four_bit import round_to_four_bits
from lightrft_strategy.lora import merged, read_adapter
from lightrft_strategy.training.optimiser import set_precision


def merge_adapter(args: MergeArgs) -> None:
    """Write the merged model and its tokenizer. Raises ConfigError if a part is missing or does not fit the other."""
    hide_progress_bars()
    adapter = Path(args.adapter).expanduser()
    assert args.pretrain is not None, "parse_merge has found out the model"
    of = ModelArgs(args.pretrain, trust_remote_code=args.trust_remote_code)
    with _naming_the_adapter():
        read_adapter(adapter)
    base = loading.load_model(of)
    if args.load_in_4bit:
        round_to_four_bits(base)
    with _naming_the_adapter():
        model = merged(base, adapter)
    beside = (adapter / "tokenizer_config.json").is_file()
    senses = loading.load_senses(of)
    own_words = beside and senses.adapter is None
    processor = loading.load_tokenizer(replace(of, pretrain=str(adapter))) if own_words else senses.processor
    set_precision(model, getattr(torch, args.dtype))
    said = f"{args.pretrain} with {args.adapter}, {args.dtype}"
    write_new(args.output, model, processor, said, JudgeForm.read(adapter))


@contextmanager
def _naming_the_adapter() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ConfigError(["the package peft is not installed: install lightrft-strategy[lora]"]) from error
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([f"--adapter {error}"]) from error

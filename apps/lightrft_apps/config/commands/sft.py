"""The command line of `lightrft sft`."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.checks.sft import require_valid_sft
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.sft import SFTConfig

ABOUT = """\
Fine-tune a language model on answers that are given: make each of their tokens likelier after what comes before it.

A row holds what is asked and the answer (--input_key, --output_key), or a whole conversation as a list of messages
under --input_key. The answer bears loss, its end token included; what is asked is only read. --apply_chat_template
writes rows in the model's own chat template, whose {{% generation %}} marks say what the assistant wrote; with one that
has no such marks a row is written piece by piece, and rejected if the pieces do not add up to the whole. Rows that
cannot be used lie in output_dir/rejected.jsonl with the reason. A run stopped halfway goes on when started again.

examples:
  {prog} --pretrain MODEL --dataset chats.jsonl --input_key messages --apply_chat_template --output_dir runs/sft
  {prog} --pretrain MODEL --dataset pairs.jsonl --eval_dataset held.jsonl --packing_samples --output_dir runs/pairs
  {prog} --pretrain MODEL --dataset texts.parquet --input_key text --pretrain_mode --output_dir runs/texts
  lightrft launch --nproc_per_node 8 sft --config recipe.yaml --fsdp --bf16 --output_dir runs/large"""


def parse_sft(argv: Sequence[str]) -> SFTConfig:
    """The checked configuration of a run: flags win over --config files.

    Raises SystemExit: code 0 after --help and --print_config, 2 after printing what is wrong.
    """
    with exit_on_config_error("lightrft sft"):
        config = parse(SFTConfig, argv, prog="lightrft sft", about=ABOUT.format(prog="lightrft sft"))
        require_valid_sft(config)
        return config

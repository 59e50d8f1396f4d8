"""The command line of `lightrft srm`."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.checks.rm import require_valid_rm
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.rm import RMConfig

ABOUT = """\
Train a scalar reward model on comparisons: a model that reads a question with an answer and gives it a number, higher
for the answer that people prefer. Text, images, videos and sounds go through the same command.

A row holds what is asked and two answers (--prompt_key, --chosen_key, --rejected_key), or is of a well-known format
that is named before a colon, such as hpdv3:FILE. Rows that cannot be used lie in output_dir/rejected.jsonl with the
reason. With --heads there is a number for each of several judgements, such as helpful,safe. output_dir/final is what
--reward_pretrain of lightrft rl takes; of a text model, AutoModelForSequenceClassification loads it, too. A run stopped
halfway goes on when started again.

examples:
  {prog} --pretrain MODEL --train_data pairs.jsonl --eval_data held.jsonl --apply_chat_template --output_dir runs/rm
  {prog} --pretrain MODEL --train_data pku_saferlhf:FILE --heads helpful,safe --output_dir runs/safety
  {prog} --pretrain MODEL --train_data hpdv3:FILE --pooling_method attn --output_dir runs/pictures
  lightrft launch --nproc_per_node 8 srm --config recipe.yaml --fsdp --bf16 --output_dir runs/large"""


def parse_srm(argv: Sequence[str]) -> RMConfig:
    """The checked configuration of a run: flags win over --config files.

    Raises SystemExit: code 0 after --help and --print_config, 2 after printing what is wrong.
    """
    with exit_on_config_error("lightrft srm"):
        config = parse(RMConfig, argv, prog="lightrft srm", about=ABOUT.format(prog="lightrft srm"))
        require_valid_rm(config)
        return config

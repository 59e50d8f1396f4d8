"""The command line of `lightrft grm`."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.checks.grm import require_valid_grm
from lightrft_apps.config.grm import GRMConfig
from lightrft_apps.config.reading.parse import exit_on_config_error, parse

ABOUT = """\
Train a generative reward model on comparisons: a language model that is shown two answers to a question, and says which
is better, or one, and gives it a grade. Text, images, videos and sounds go through the same command.

Comparisons are read as lightrft srm reads them, by formats such as hpdv3:FILE or as plain rows (--prompt_key,
--chosen_key, --rejected_key), and written as questions with the answer that is to be learnt, such as
<answer>Answer 1 is better</answer>. Rows that cannot be used lie in output_dir/rejected.jsonl with the reason. What is
held out is asked about at the end, greedily and in both orders. output_dir/final is a language model as any other, with
judge.json beside it; lightrft rl trains it further, on prompts such as judge:FILE and by the rule judgement. A run
stopped halfway goes on when started again.

examples:
  {prog} --pretrain MODEL --train_data pairs.jsonl --eval_data held.jsonl --apply_chat_template --output_dir runs/judge
  {prog} --pretrain MODEL --train_data imagegen-cot-reward-5k:FILE --judge_reasoning --output_dir runs/thinks
  {prog} --pretrain MODEL --train_data graded.jsonl --judge_kind pointwise --output_dir runs/grades"""


def parse_grm(argv: Sequence[str]) -> GRMConfig:
    """The checked configuration of a run: flags win over --config files.

    Raises SystemExit: code 0 after --help and --print_config, 2 after printing what is wrong.
    """
    with exit_on_config_error("lightrft grm"):
        config = parse(GRMConfig, argv, prog="lightrft grm", about=ABOUT.format(prog="lightrft grm"))
        require_valid_grm(config)
        return config

"""The command line of `lightrft chat`."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.chat import ChatCommand
from lightrft_apps.config.checks.chat import chat_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.parse import exit_on_config_error, parse

ABOUT = """\
Talk with a model: a policy, a checkpoint of a run, an adapter, or an endpoint elsewhere.

Answers appear as they are written. /help lists what can be typed besides questions: /image, /audio and /video show
and play something, /system, /undo, /retry and /reset change the conversation, /save and /load keep it, /set changes
how answers are drawn. Ctrl-C stops an answer, Ctrl-D ends. With rewards, each answer is followed by what they say.

A run's folder or checkpoint is talked to as it was trained: with its --system_prompt, and in the chat template if it
had --apply_chat_template.

examples:
  lightrft chat --pretrain runs/first
  lightrft chat --pretrain runs/first/checkpoints/step_8 --rule_reward number --temperature 0
  lightrft chat --pretrain smollm2 --side_by_side runs/first --web
  lightrft chat --remote http://127.0.0.1:8000 --remote_model NAME --remote_key_env API_KEY
  lightrft chat --pretrain MODEL --input prompts.txt --output answers.jsonl"""


def parse_chat(argv: Sequence[str]) -> ChatCommand:
    """The checked configuration. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft chat"):
        command = parse(ChatCommand, argv, prog="lightrft chat", about=ABOUT)
        problems = list(chat_problems(command))
        if problems:
            raise ConfigError(problems)
        return command

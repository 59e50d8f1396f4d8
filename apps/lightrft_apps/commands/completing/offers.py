"""Commands, their flags, and the values of those that take one of a few; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args, get_origin

from lightrft_apps.commands.launch import SHARED
from lightrft_apps.config import COMMANDS as TRAINING
from lightrft_apps.config import RLConfig
from lightrft_apps.config.audit import AuditCommand
from lightrft_apps.config.chat import ChatCommand
from lightrft_apps.config.commands.compare import CompareCommand
from lightrft_apps.config.commands.doctor import DoctorCommand
from lightrft_apps.config.commands.eval_rm import EvalRMCommand
from lightrft_apps.config.commands.export import ExportCommand
from lightrft_apps.config.commands.importing import ImportCommand
from lightrft_apps.config.commands.merge_lora import MergeCommand
from lightrft_apps.config.commands.plan import PlanCommand
from lightrft_apps.config.commands.quickstart import KINDS, MODALITIES
from lightrft_apps.config.commands.replay import ReplayCommand
from lightrft_apps.config.commands.report import ReportCommand
from lightrft_apps.config.commands.serve_reward import ServeCommand
from lightrft_apps.config.commands.watch import WatchCommand
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.reading.schema import Field, fields_of, turned_off
from lightrft_apps.main import COMMANDS

SHELLS = ("bash", "zsh", "fish")

CONFIGURED: dict[str, type] = {name: kind for kind, name in TRAINING.items()} | {
    "quickstart": RLConfig,
    "chat": ChatCommand,
    "watch": WatchCommand,
    "eval": EvalCommand,
    "eval-rm": EvalRMCommand,
    "serve-reward": ServeCommand,
    "reward": ReplayCommand,
    "audit-logprobs": AuditCommand,
    "plan": PlanCommand,
    "doctor": DoctorCommand,
    "merge-lora": MergeCommand,
    "export": ExportCommand,
    "import": ImportCommand,
    "report": ReportCommand,
    "compare": CompareCommand,
}
"""Command -> what it parses."""


@dataclass(frozen=True)
class Option:
    """A flag. about: its line of documentation. values: those it takes, () where it takes others or a file."""

    about: str
    values: tuple[str, ...] = ()
    takes_value: bool = True


@dataclass(frozen=True)
class Offer:
    """What may follow a command. words: besides flags, such as a command of its own."""

    about: str
    flags: Mapping[str, Option] = field(default_factory=dict)
    words: tuple[str, ...] = ()


OWN_WORDS = {"reward": ("replay",), "launch": SHARED, "completion": SHELLS}

OWN_FLAGS = {
    "quickstart": {
        "--modality": Option("what the quick start is about", MODALITIES),
        "--reward-model": Option("the quick start of reward modelling", KINDS),
    },
    "launch": {
        "--nproc_per_node": Option("processes; default: one for each accelerator"),
        "--max_restarts": Option("times to begin again after a process died"),
    },
}
"""What commands take that no configuration of theirs has."""

OF_ALL = {
    "--config": Option("read values from a YAML file"),
    "--print_config": Option("print the complete configuration, and stop", takes_value=False),
}
HELP = {"--help": Option("what the command does, and its flags", takes_value=False)}


def offers() -> dict[str, Offer]:
    """Every command with what may follow it."""
    return {
        name: Offer(about, OWN_FLAGS.get(name, {}) | _configured(name) | HELP, OWN_WORDS.get(name, ()))
        for name, about in COMMANDS.items()
    }


def _configured(command: str) -> dict[str, Option]:
    if command not in CONFIGURED:
        return {}
    fields = fields_of(CONFIGURED[command]).values()
    return {flag: option for each in fields for flag, option in _options(each)} | OF_ALL


def _options(flag: Field) -> Iterator[tuple[str, Option]]:
    if flag.type is bool and flag.default is True:
        yield f"--{turned_off(flag.name)}", Option(f"not: {flag.doc}", takes_value=False)
    if get_origin(flag.type) is Literal:
        yield f"--{flag.name}", Option(flag.doc, tuple(map(str, get_args(flag.type))))
    else:
        yield f"--{flag.name}", Option(flag.doc, ("true", "false") if flag.type is bool else ())

"""Whether a chat can be what its flags say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from lightrft_apps.config.checks.attention import attention_problems
from lightrft_apps.config.checks.bounds import ABOVE_ZERO, BOUNDS, ONE_OR_MORE, ZERO_OR_MORE, Bound, out_of_bounds
from lightrft_apps.config.checks.effects import Condition, without_effect
from lightrft_apps.config.checks.engine import engine_problems
from lightrft_apps.config.checks.lora import OF_AN_ADAPTER
from lightrft_apps.config.checks.places import missing_source
from lightrft_apps.config.checks.precision import precision_problems
from lightrft_apps.config.checks.reward import reward_problems
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.sections.engine import ENGINES, EngineArgs

if TYPE_CHECKING:
    from lightrft_apps.config.chat import ChatCommand

CHAT_BOUNDS = BOUNDS | {
    "temperature": ZERO_OR_MORE,
    "remote_timeout": ABOVE_ZERO,
    "port": Bound(lambda x: 0 <= x <= 65535, "a port from 1 to 65535, or to 0 for any that is free"),
    "max_upload_mb": ONE_OR_MORE,
}

_PLACES = ("attn_implementation", "bf16", "fp16", "trust_remote_code")
_OF_ROWS = ("input_key", "label_key", "route_key", "max_samples", "images_key", "videos_key", "audios_key")


def chat_problems(command: ChatCommand) -> Iterator[str]:
    """What to change about the flags of `lightrft chat`. No model is loaded yet."""
    yield from out_of_bounds(to_flat(command), CHAT_BOUNDS)
    yield from without_effect(command, _conditions(command))
    yield from _who(command)
    yield from _where(command)
    yield from _batch(command)
    if command.judged:
        yield from reward_problems(command.reward(), command.judges)
    if not _local(command):
        return
    yield from engine_problems(command)
    yield from precision_problems(command.who.model(""))
    yield from attention_problems(command.who.model(""))


def _local(command: ChatCommand) -> bool:
    """Whether a model of this process answers."""
    return command.who.pretrain is not None or command.who.side_by_side is not None


def _conditions(command: ChatCommand) -> Iterator[Condition]:
    engine = tuple(field.name for field in fields(EngineArgs))
    yield (*_PLACES, *engine, "apply_chat_template", "prompt_max_len"), _local(command), "set --pretrain"
    yield ("lora_path",), command.who.pretrain is not None, "set --pretrain, or name the adapter by --side_by_side"
    of_remote = ("remote_model", "remote_key_env", "remote_timeout")
    yield of_remote, command.remote.remote is not None, "set --remote"
    yield ("output", *_OF_ROWS, "media_root", "media_urls", "progress"), command.file.input is not None, "set --input"
    yield ("host", "port", "max_upload_mb"), command.page.web, "set --web"


def _who(command: ChatCommand) -> Iterator[str]:
    who, remote = command.who, command.remote
    if who.pretrain is None and remote.remote is None:
        yield "nobody answers: set --pretrain to a model, a run or an adapter, or --remote to an endpoint"
    if who.pretrain is not None and remote.remote is not None:
        yield (
            "--pretrain and --remote both answer: leave one of them out; to hear both, keep --remote and name the "
            f"model by --side_by_side {who.pretrain}"
        )
    for flag, source in (("pretrain", who.pretrain), ("side_by_side", who.side_by_side)):
        if source is not None:
            yield from missing_source(flag, source)
    if who.lora_path is not None and not (Path(who.lora_path).expanduser() / OF_AN_ADAPTER).is_file():
        yield f"--lora_path {who.lora_path}: there is no adapter: no {OF_AN_ADAPTER} lies in it"
    if command.engine.engine_type not in ENGINES:
        yield (
            f"--engine_type {command.engine.engine_type}: a conversation is answered by LightRFT's own engines: "
            f"set it to one of {', '.join(ENGINES)}"
        )
    if who.side_by_side is not None and command.engine.engine_type != "embedded" and not command.engine.engine_server:
        yield (
            f"--side_by_side with --engine_type {command.engine.engine_type}: this process holds one engine of that "
            "type: add --engine_server, or set --engine_type embedded"
        )


def _where(command: ChatCommand) -> Iterator[str]:
    remote = command.remote
    if remote.remote is None:
        return
    from lightrft_rewards.service.exchange import problem_with

    if problem := problem_with(remote.remote):
        yield f"--remote: {problem}"
    if remote.remote_model is None:
        yield "--remote: name the model that is to answer there by --remote_model"
    if remote.remote_key_env is not None and not os.environ.get(remote.remote_key_env, "").strip():
        yield f"--remote_key_env {remote.remote_key_env}: there is no such environment variable, or it is empty"


def _batch(command: ChatCommand) -> Iterator[str]:
    file = command.file
    if file.input is None:
        return
    yield from missing_source("input", file.input)
    if command.page.web:
        yield "--web and --input: a page is for talking: leave one of them out"
    if command.who.side_by_side is not None:
        yield "--side_by_side with --input: a file is answered by one: ask the other into another --output"
    if file.output is None:
        yield "--input: set --output to a new .jsonl file for the answers"
    elif (output := Path(file.output).expanduser()).exists():
        yield f"--output {file.output}: it is there already, and nothing is overwritten: set it to a new file"
    elif output.suffix != ".jsonl" or not output.absolute().parent.is_dir():
        yield f"--output {file.output}: set it to a new .jsonl file in a folder that is there"

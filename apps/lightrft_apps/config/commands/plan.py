"""The configuration and command line of `lightrft plan`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import prod

from lightrft_apps.config.checks.algorithm import algorithm_problems
from lightrft_apps.config.checks.bounds import ABOVE_ZERO, BOUNDS, ONE_OR_MORE, out_of_bounds
from lightrft_apps.config.checks.compile import compile_conflicts
from lightrft_apps.config.checks.engine import INSTALL
from lightrft_apps.config.checks.lora import model_problems
from lightrft_apps.config.checks.parallel import IN_SLICES, holding_problems
from lightrft_apps.config.checks.precision import precision_conflict
from lightrft_apps.config.checks.weights import weight_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.rl import RLConfig
from lightrft_apps.config.sections import DataArgs, RunArgs

PROG = "lightrft plan"

MODALITIES = ("image", "video", "audio")

ABOUT = """\
Before you rent machines: how much memory and time does each phase of a step take on every one of them, does it fit,
and if it does not, which flag changes that? Takes every flag of lightrft rl; of the model only its configuration is
read, no weight. Prompts, rewards and folders are not looked at.

examples:
  lightrft plan --config run.yaml --gpus 8 --device H100
  lightrft plan --pretrain MODEL --bf16 --gpus 4 --gpu_mem 48 --prompt_len 300 --response_len 2000 --json

A phase fits if what it needs at its worst moment is no more than --gpu_mem. Each advice changes one flag (--gpus among
them) and has been planned again; where none is enough alone, the last line is a set of flags that is. A plan that fits
ends with exit code 0, another with 1. What the numbers rest on, and how they compare with measured ones:
docs/source/best_practice/plan.md.
"""


@dataclass(frozen=True)
class MachineArgs:
    """The machines to plan for"""

    gpus: int = 1
    """processes, each with a device of its own; on the CPU they share its memory"""
    gpu_mem: float | None = None
    """memory of a device in GiB; default: that of --device, or of this machine's device or RAM"""
    device: str | None = None
    """a device whose data sheet is known, such as H100, H200, A100, L40S or MI300X"""
    tflops: float | None = None
    """its peak rate in bfloat16, without sparsity, in 10^12 operations a second; default: that of --device"""
    bandwidth: float | None = None
    """bandwidth of its memory in GB/s; default: that of --device"""
    prompt_len: int | None = None
    """tokens of a prompt as expected, those of its media counted; default: prompt_max_len"""
    prompt_media: str | None = None
    """media of a prompt by their tokens, such as image:1024,audio:250, or none; default: one that fills the prompt"""
    response_len: int | None = None
    """tokens of an answer as expected; default: generate_max_len"""
    json: bool = False
    """print the numbers as JSON, for programs"""


@dataclass(frozen=True)
class PlannedDataArgs(DataArgs):
    """The prompts"""

    prompt_data: str = "any"
    """not looked at here"""


@dataclass(frozen=True)
class PlannedRunArgs(RunArgs):
    """The run"""

    output_dir: str = "any"
    """not looked at here"""


@dataclass(frozen=True, kw_only=True)
class _Machines:
    machine: MachineArgs = field(default_factory=MachineArgs)


@dataclass(frozen=True, kw_only=True)
class PlanCommand(RLConfig, _Machines):
    """Everything `lightrft plan` is told: the machines, then the run."""

    data: PlannedDataArgs = field(default_factory=PlannedDataArgs)
    run: PlannedRunArgs = field(default_factory=PlannedRunArgs)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of a prompt, those of its media counted."""
        return self.machine.prompt_len or self.data.prompt_max_len


def parse_plan(argv: Sequence[str]) -> PlanCommand:
    """The checked command. Raises SystemExit: code 0 after --help and --print_config, 2 after saying what is wrong."""
    with exit_on_config_error(PROG):
        command = parse(PlanCommand, argv, prog=PROG, about=ABOUT)
        require_plannable(command)
        return command


def require_plannable(command: PlanCommand) -> None:
    """Raise ConfigError with everything that would make the plan one of another run than the flags ask for."""
    problems = [*out_of_bounds(to_flat(command), BOUNDS | OF_MACHINES), *model_problems(command)]
    problems += [*precision_conflict(command.model), *compile_conflicts(command), *weight_problems(command)]
    if not problems:
        problems = [*algorithm_problems(command), *_holding(command), *_lengths(command), *_devices(command)]
        problems += _media(command)
    if problems:
        raise ConfigError(problems)


OF_MACHINES = {
    "gpus": ONE_OR_MORE,
    "gpu_mem": ABOVE_ZERO,
    "tflops": ABOVE_ZERO,
    "bandwidth": ABOVE_ZERO,
    "prompt_len": ONE_OR_MORE,
    "response_len": ONE_OR_MORE,
}
"""What the numbers of this command may be."""


def _holding(command: PlanCommand) -> Iterator[str]:
    lora, gpus, parallel = command.lora, command.machine.gpus, command.parallel
    yield from holding_problems(command)
    together = {name: size for name in ("tp_size", *IN_SLICES) if (size := getattr(parallel, name)) > 1}
    if gpus % (size := prod(together.values())):
        flags = " x ".join(f"--{name} {number}" for name, number in together.items())
        yield f"{flags}: --gpus {gpus} cannot be cut into groups of {size}: set it to a multiple of it"
    if lora.load_in_4bit and not lora.lora_rank:
        yield "--load_in_4bit: weights in 4 bits cannot be trained, an adapter on them can: set --lora_rank, such as 16"
    if lora.lora_rank and find_spec("peft") is None:
        yield f"--lora_rank {lora.lora_rank}: the package peft is not installed: install lightrft-strategy[lora]"
    if parallel.placement != "resident":
        yield (
            f"--placement {parallel.placement}: what rests in host memory is not counted: set --placement "
            "resident, which needs as much memory on the device or more"
        )


def _lengths(command: PlanCommand) -> Iterator[str]:
    most = {"prompt_len": "prompt_max_len", "response_len": "generate_max_len"}
    flat = to_flat(command)
    for name, bound in most.items():
        if flat[name] is not None and flat[name] > flat[bound]:
            yield f"--{name} {flat[name]}: --{bound} allows {flat[bound]} tokens: lower the one or raise the other"
    prompts, samples = command.rollout.rollout_batch_size, command.rollout.n_samples_per_prompt
    size = command.train.train_batch_size
    if size is not None and size > prompts * samples:
        yield (
            f"--train_batch_size {size}: a step has only {prompts} prompts x {samples} samples = {prompts * samples} "
            f"rollouts; set it to {prompts * samples} or less"
        )


def media_in(text: str) -> list[tuple[str, int]]:
    """Modality and tokens of each medium that --prompt_media names. Raises ValueError for what is none."""
    media = [part.strip().partition(":") for part in text.split(",")] if text != "none" else []
    for modality, _, tokens in media:
        if modality not in MODALITIES or not tokens.isdecimal() or not int(tokens):
            raise ValueError(f"write each medium as {', '.join(MODALITIES[:-1])} or {MODALITIES[-1]}:TOKENS")
    return [(modality, int(tokens)) for modality, _, tokens in media]


def limits_of(command: PlanCommand) -> dict[str, int | None]:
    """How many media of each modality a prompt may have; None: any number."""
    data = command.data
    limits = (data.limit_mm_image_per_prompt, data.limit_mm_video_per_prompt, data.limit_mm_audio_per_prompt)
    return dict(zip(MODALITIES, limits, strict=True))


def _media(command: PlanCommand) -> Iterator[str]:
    told, length = command.machine.prompt_media, command.prompt_tokens
    try:
        media = media_in(told) if told is not None else []
    except ValueError as error:
        yield f"--prompt_media {told}: {error}, or set it to none"
        return
    if (tokens := sum(size for _, size in media)) > length:
        yield f"--prompt_media {told}: {tokens} tokens are more than the {length} of a prompt: raise --prompt_len"
    for modality, limit in limits_of(command).items():
        count = sum(kind == modality for kind, _ in media)
        if limit is not None and count > limit:
            yield f"--prompt_media {told}: --limit_mm_{modality}_per_prompt {limit} allows no {count}: raise it"


def _devices(command: PlanCommand) -> Iterator[str]:
    from lightrft_strategy.planning.accelerators import KNOWN  # imports torch, which --help does not wait for

    args, engine = command.machine, command.engine
    if args.device is not None and args.device not in KNOWN:
        yield (
            f"--device {args.device}: its data sheet is not known here, those of {', '.join(KNOWN)} are: "
            "leave it out and give --gpu_mem, --tflops and --bandwidth"
        )
    if (args.tflops is None) != (args.bandwidth is None) and args.device is None:
        missing = "bandwidth" if args.bandwidth is None else "tflops"
        yield f"--{missing}: times need --tflops and --bandwidth, both of them, or --device"
    needed = engine.engine_tp_size * engine.vllm_num_engines
    if engine.engine_type in INSTALL and engine.engine_url is None and needed > args.gpus:
        yield (
            f"--engine_tp_size {engine.engine_tp_size} x --vllm_num_engines {engine.vllm_num_engines} need {needed} "
            f"devices, and there are --gpus {args.gpus}: lower one of the two or raise --gpus"
        )

"""From a run's flags to its plan: models by their configurations, how they are held, what samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lightrft_apps.config.algorithm import build_algorithm
from lightrft_apps.config.commands.plan import PlanCommand
from lightrft_apps.config.sections.engine import ENGINES
from lightrft_apps.models.compose import shares_prompts
from lightrft_apps.models.precision import compute_dtype
from lightrft_apps.models.slicing import require_sliceable_models
from lightrft_apps.planning.advice import Advice, advise
from lightrft_apps.planning.subjects import Subjects
from lightrft_multimodal.adapters.adapter import FEATURES_BYTES, INPUTS_BYTES
from lightrft_multimodal.adapters.outlines import Outline
from lightrft_strategy.devices import device
from lightrft_strategy.placement import memory_in_use
from lightrft_strategy.planning import (
    GIB,
    KNOWN,
    Accelerator,
    Engine,
    Holding,
    Job,
    Phase,
    Subject,
    Work,
    Workload,
    plan_memory,
    plan_work,
    this_machine,
)

RUNTIME = 3 * GIB // 2
"""What a process takes of an accelerator besides its tensors: context, kernels, gaps. Assumed, not measured."""


@dataclass(frozen=True)
class Machine:
    """What one rank runs on. rates: None where times are not asked for. on_host: the CPU, with the host's memory."""

    memory: float
    rates: Accelerator | None
    on_host: bool


@dataclass(frozen=True)
class Plan:
    """What is told of a run: each phase's memory and work on one rank, and what to change if it does not fit."""

    job: Job
    machine: Machine
    phases: list[Phase]
    work: dict[str, Work]
    advice: list[Advice]

    @property
    def fits(self) -> bool:
        return not any(phase.lacks for phase in self.phases)

    @property
    def media(self) -> list[Outline]:
        """What every prompt shows and plays."""
        prompt_of = self.job.policy.prompt_of
        shown = () if prompt_of is None else prompt_of(0).media
        return [medium for medium in shown if isinstance(medium, Outline)]


def plan_run(command: PlanCommand) -> Plan:
    """The plan of a run. Raises ConfigError, naming the flag, if a model's configuration cannot be read or counted."""
    dtype = compute_dtype(command.model)
    machine = machine_of(command, dtype)
    subjects = Subjects(on_host=machine.on_host)
    runtime = memory_in_use() if machine.on_host else RUNTIME

    def job_of(command: PlanCommand) -> Job:
        return _job(command, machine, subjects, runtime)

    job = job_of(command)
    phases = plan_memory(job)
    advice = advise(command, phases, lambda changed: plan_memory(job_of(changed)))
    return Plan(job, machine, phases, plan_work(job, machine.rates), advice)


def machine_of(command: PlanCommand, dtype: torch.dtype) -> Machine:
    """By --device; or the numbers that are given; or this machine, measured. Its processes share a CPU's memory."""
    args = command.machine
    if args.device is None and args.gpu_mem is None and args.tflops is None:
        here = this_machine(dtype)
        on_host = device().type == "cpu"
        return Machine(here.memory / (args.gpus if on_host else 1), here, on_host)
    known = KNOWN[args.device] if args.device is not None else None
    rates = known
    if args.tflops is not None or args.bandwidth is not None:
        base = known or Accelerator("as given", 0.0, 0.0, 0.0, "")
        rates = replace(
            base,
            flops=base.flops if args.tflops is None else args.tflops * 1e12,
            bandwidth=base.bandwidth if args.bandwidth is None else args.bandwidth * 1e9,
            source="--tflops and --bandwidth",
        )
    if args.gpu_mem is not None:
        memory = args.gpu_mem * GIB
    else:
        memory = known.memory if known is not None else this_machine(dtype).memory
    return Machine(memory, rates, False)


def _job(command: PlanCommand, machine: Machine, subjects: Subjects, runtime: int) -> Job:
    require_sliceable_models(command)
    algorithm, pretrain = build_algorithm(command), command.model.pretrain
    wanted, work = algorithm.models(off_policy=False), _workload(command)
    models: dict[str, Callable[[], Subject]] = {}
    if "reference" in wanted and not command.lora.lora_rank:
        models["reference"] = lambda: subjects.of(command, "pretrain", pretrain, "frozen")
    if "teacher" in wanted:
        teacher = command.divergence.teacher_pretrain or pretrain
        models["teacher"] = lambda: subjects.of(command, "teacher_pretrain", teacher, "frozen")
    if "critic" in wanted:
        critic = command.critic.critic_pretrain
        flag = "pretrain" if critic is None else "critic_pretrain"
        models["critic"] = lambda: subjects.of(command, flag, critic or pretrain, "critic")
    return Job(
        policy=subjects.of(command, "pretrain", pretrain, "policy"),
        **{name: build() for name, build in models.items()},
        holding=_holding(command, lazy=machine.on_host),
        engine=_engine(command),
        work=work,
        memory=machine.memory,
        runtime=runtime,
        scores=tuple(algorithm.models(off_policy=work.optimiser_steps > 1)),
        on_host=machine.on_host,
        kept_inputs=INPUTS_BYTES,
        kept_embeddings=FEATURES_BYTES,
    )


def _workload(command: PlanCommand) -> Workload:
    rollout, train = command.rollout, command.train
    answers = rollout.rollout_batch_size * rollout.n_samples_per_prompt
    return Workload(
        prompts=rollout.rollout_batch_size,
        samples=rollout.n_samples_per_prompt,
        prompt_len=command.prompt_tokens,
        response_len=command.machine.response_len or rollout.generate_max_len,
        train_batch=train.train_batch_size or answers,
        epochs=train.max_epochs,
        token_budget=train.max_tokens_per_micro_batch,
        most_sequences=train.micro_train_batch_size,
        shared=shares_prompts(command),
        budget_len=rollout.generate_max_len,
        slices=command.parallel.row_ranks,
        padded=not train.packing_samples,
        tp=command.parallel.tp_size,
    )


def _holding(command: PlanCommand, *, lazy: bool) -> Holding:
    args = command.parallel
    held = Holding(ranks=command.machine.gpus, tp=args.tp_size, lazy=lazy, average=command.train.enable_ema)
    if args.fsdp:
        return replace(held, kind="fsdp", offload=args.fsdp_offload, reshard=args.fsdp_reshard)
    if args.zero_stage is not None:
        return replace(held, kind="zero", stage=args.zero_stage, offload=args.adam_offload, overlap=args.overlap_comm)
    return held


def _engine(command: PlanCommand) -> Engine:
    args = command.engine
    if args.engine_type == "embedded":
        return Engine(rows=command.rollout.micro_rollout_batch_size)
    return Engine(
        kind="beside" if args.engine_url is None and args.engine_type in ENGINES else "elsewhere",
        rows=args.max_num_seqs,
        mem_util=args.engine_mem_util,
        tp=args.engine_tp_size,
        sleeps=args.enable_engine_sleep,
        weight_bytes=1 if args.fp8_rollout else compute_dtype(command.model).itemsize,
    )

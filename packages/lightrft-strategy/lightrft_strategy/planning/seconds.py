"""Time of each phase on one rank by the roofline, and what it sends to the others.

Roofline: Williams et al. 2009, doi 10.1145/1498765.1498785. Communication is stated in bytes and costs no time here;
neither do judging and the work of the CPU beside an accelerator.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from lightrft_strategy.planning.accelerators import Accelerator
from lightrft_strategy.planning.counting import BACKWARD_ATTENTION
from lightrft_strategy.planning.memory import Job, rows
from lightrft_strategy.planning.subject import Pass, Subject
from lightrft_strategy.planning.workload import MicroBatch, Workload

COMPUTE_EFFICIENCY = 0.4
"""Of the peak rate that passes over many tokens reach: what large training runs report is 0.3 to 0.5."""

BANDWIDTH_EFFICIENCY = 0.6
"""Of the memory bandwidth that decoding reaches."""

SAMPLE_TOKENS = 512
"""Tokens that operations per token are counted on."""

ADAMW_BYTES = 28
"""Read and written a parameter and step: weight, gradient and two moments in float32, three of them both ways."""


@dataclass(frozen=True)
class Work:
    """Of one phase on one rank. flops: operations. reads: bytes that memory bandwidth bounds. sends: to other ranks.

    seconds: None where the rates are not known or only communication takes time.
    """

    flops: float
    reads: float
    sends: float
    seconds: float | None


def plan_work(job: Job, device: Accelerator | None) -> dict[str, Work]:
    """By phase. device: None: no times."""
    found = {"sample": _sample(job), "estimate": _estimate(job), "optimise": _optimise(job), "publish": _publish(job)}
    return {
        name: Work(flops, reads, sends, _seconds(device, parts)) for name, (flops, reads, sends, parts) in found.items()
    }


_Parts = list[tuple[float, float]]
"""(operations, bytes read) of pieces of work that follow one another; each takes as long as the slower of the two."""


def _seconds(device: Accelerator | None, parts: _Parts) -> float | None:
    if device is None or not parts:
        return None
    compute, bandwidth = device.flops * COMPUTE_EFFICIENCY, device.bandwidth * BANDWIDTH_EFFICIENCY
    return sum(max(flops / compute, reads / bandwidth) for flops, reads in parts)


def _sample(job: Job) -> tuple[float, float, float, _Parts]:
    """Weights are read once for each position of the longest answer of a wave, keys and values for each token."""
    work, policy = job.work, job.policy
    answers, length, prompt = work.answers(job.holding.ranks), work.response_len, work.prompt_len
    steps = ceil(answers / rows(job)) * length
    unread = policy.weights.table + policy.weights.towers
    weights = policy.weights.bytes(policy.itemsize) - unread * policy.itemsize
    if job.engine.kind != "embedded":
        weights = (policy.weights.total - unread) * job.engine.weight_bytes // job.engine.tp
    kv = policy.kv_bytes / (1 if job.engine.kind == "embedded" else job.engine.tp)
    reads = steps * weights + kv * answers * (length * prompt + length * (length - 1) / 2)
    per_token, read_only = _forward_flops(policy, SAMPLE_TOKENS), _forward_flops(policy, 1)
    seen = answers * (length * prompt + length * (length + 1) / 2)
    decoding = answers * length * per_token + seen * policy.attention_flops
    prompts = answers // work.samples
    seeing = policy.forward(prompt, 1, 1).seeing
    reading = prompts * (seeing + prompt * read_only + prompt * (prompt + 1) / 2 * policy.attention_flops)
    return decoding + reading, reads, 0.0, [(decoding, reads), (reading, weights)]


def _estimate(job: Job) -> tuple[float, float, float, _Parts]:
    ranks, work = job.holding.ranks, job.work
    flops = sends = 0.0
    for name in job.scores:
        subject, largest = job.scorer(name), work.largest(ranks)
        one = subject.forward(largest.tokens, largest.scored, largest.prompts)
        summed = one.sends / largest.tokens
        flops += _passed(one, largest, work, ranks) + work.attended(ranks) * subject.attention_flops
        sends += work.passes(ranks) * _gather_bytes(job, subject) + work.computed(ranks) * summed
    return flops, 0.0, sends, [(flops, 0.0)] if flops else []


def _optimise(job: Job) -> tuple[float, float, float, _Parts]:
    ranks, work = job.holding.ranks, job.work
    flops = reads = sends = 0.0
    share = 1 if job.holding.kind == "whole" else job.holding.sharers
    for whole in job.learners.values():
        subject = whole.slice(job.holding.tp)
        attention = 1 + BACKWARD_ATTENTION + (1 if subject.checkpointed else 0)
        largest = work.largest(ranks)
        keep = job.holding.whole_gradients
        one = subject.training(largest.tokens, largest.scored, largest.prompts, keep=keep)
        summed = one.sends / largest.tokens
        flops += work.epochs * (
            _passed(one, largest, work, ranks) + work.attended(ranks) * attention * subject.attention_flops
        )
        reads += work.optimiser_steps * ADAMW_BYTES * subject.weights.trained / share
        sends += work.optimiser_steps * _exchanged(job, subject) + work.epochs * work.computed(ranks) * summed
    return flops, reads, sends, [(flops, 0.0), (0.0, reads)]


def _publish(job: Job) -> tuple[float, float, float, _Parts]:
    part = job.policy.slice(job.holding.tp)
    sends = _gather_bytes(job, part) + (job.policy.weights.total - part.weights.total) * job.policy.itemsize
    if job.engine.kind != "embedded":
        sends += job.policy.weights.bytes(job.policy.itemsize)
    return 0.0, 0.0, sends, []


def _passed(one: Pass, batch: MicroBatch, work: Workload, ranks: int) -> float:
    """Operations of one pass over a step's answers, by those of a micro-batch: of tokens, and of towers by prompts."""
    tokens = work.computed(ranks) * (one.flops - one.seeing) / batch.tokens
    return tokens + work.seen(ranks) * one.seeing / batch.prompts


def _forward_flops(subject: Subject, scored: int) -> float:
    return subject.forward(SAMPLE_TOKENS, scored).flops / SAMPLE_TOKENS


def _gather_bytes(job: Job, subject: Subject) -> float:
    """What a rank sends when ranks gather what they hold of a model that lies in shards, in a ring."""
    if not job.holding.in_shards:
        return 0.0
    return subject.weights.bytes(subject.itemsize) * (job.holding.sharers - 1) / job.holding.sharers


def _exchanged(job: Job, subject: Subject) -> float:
    """What a rank sends in one optimiser step: gradients in float32, and weights where they lie in shards."""
    holding, trained = job.holding, 4.0 * subject.weights.trained
    part = (holding.sharers - 1) / holding.sharers
    batches = job.work.micro_batches(holding.ranks)
    if holding.kind == "whole":
        return 2 * part * trained
    if holding.stage == 1:
        return part * (trained + subject.itemsize * subject.weights.trained)
    if holding.stage == 2:
        return part * (batches * trained + subject.itemsize * subject.weights.trained)
    times = 2 if holding.kind == "zero" or holding.reshard else 1
    return batches * (times * _gather_bytes(job, subject) + part * trained)

"""Memory of each phase of a step on one rank, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from lightrft_strategy.engines.embedded import CACHE_BYTES
from lightrft_strategy.engines.footprint import kv_bytes_per_token
from lightrft_strategy.engines.kv_cache import copied
from lightrft_strategy.engines.laid_out import lays_out
from lightrft_strategy.planning.accelerators import GIB
from lightrft_strategy.planning.holding import Holding, Parts, gathered, keep, learn
from lightrft_strategy.planning.subject import Subject
from lightrft_strategy.planning.workload import Workload

ASLEEP = GIB
"""What an engine cannot give back: its context, its compiled graphs. Assumed, not measured."""

ENGINE_BUFFERS = GIB
"""What an engine sets aside for its own passes, of its share of the device. Assumed, not measured."""

FLOAT = 4


@dataclass(frozen=True)
class Engine:
    """What samples. kind: embedded, beside (in this process or a server on these devices) or elsewhere.

    rows: answers side by side; 0: the embedded engine's own choice. mem_util: share of a device, for one beside.
    tp: devices one engine is spread over. sleeps: whether it gives its memory back in training.
    weight_bytes: of one weight in it.
    """

    kind: Literal["embedded", "beside", "elsewhere"] = "embedded"
    rows: int = 0
    mem_util: float = 0.5
    tp: int = 1
    sleeps: bool = True
    weight_bytes: int = 2


@dataclass(frozen=True)
class Job:
    """A run as far as memory and time go. reference, teacher, critic: None where there is none of its own.

    scores: which models score a batch before it is learnt from. runtime: bytes of the program itself.
    memory: bytes of one rank's device. on_host: the device's memory is the host's, as on the CPU.
    kept_inputs, kept_embeddings: what processed media may take of host memory, and what each model's frozen towers made
    of them of the device; in a long run they do.
    """

    policy: Subject
    holding: Holding
    engine: Engine
    work: Workload
    memory: float
    runtime: int
    reference: Subject | None = None
    teacher: Subject | None = None
    critic: Subject | None = None
    scores: tuple[str, ...] = ()
    on_host: bool = False
    kept_inputs: int = 0
    kept_embeddings: int = 0

    @property
    def models(self) -> dict[str, Subject]:
        """Every model, by name, that has weights of its own."""
        named = {
            "policy": self.policy,
            "reference": self.reference,
            "teacher": self.teacher,
            "critic": self.critic,
        }
        return {name: subject for name, subject in named.items() if subject is not None}

    @property
    def learners(self) -> dict[str, Subject]:
        """Those that are trained."""
        return {name: subject for name, subject in self.models.items() if name in ("policy", "critic")}

    def scorer(self, name: str) -> Subject:
        """A model that scores a batch, as a rank has it: the policy where there is none of that name."""
        return self.models.get(name, self.policy).slice(self.holding.tp)


@dataclass(frozen=True)
class Phase:
    """parts, host: bytes by what they are for, on a rank's device and in host memory. lacks: bytes too many; 0: fits.

    why: what is too much, if it is not the sum of the parts.
    """

    name: str
    parts: dict[str, int]
    host: dict[str, int]
    lacks: int
    why: str = ""

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def plan_memory(job: Job) -> list[Phase]:
    """sample, estimate, optimise and publish, as one rank sees them."""
    return [_sample(job), _estimate(job), _optimise(job), _publish(job)]


def _always(job: Job) -> Parts:
    parts = Parts()
    parts.add("the program itself", job.runtime)
    for name, subject in job.models.items():
        keep(subject, job.holding, learns=name in job.learners, name=name, parts=parts)
        parts.add(f"{name} embeddings of media, kept", job.kept_embeddings if subject.keeps_embeddings else 0)
    parts.add("processed media, kept", job.kept_inputs if job.policy.prompt_of else 0, host=True)
    if job.holding.in_parts:
        parts.add("whole copy to sample from", job.policy.weights.bytes(job.policy.itemsize))
    return parts


def _sample(job: Job) -> Phase:
    parts, why, missing = _always(job), "", 0
    if job.engine.kind == "embedded":
        _embedded(job, parts)
    elif job.engine.kind == "beside":
        share, needs = _share(job), _least(job)
        parts.add("engine, awake", share)
        missing = max(0, needs - share)
        if missing:
            why = f"the engine's share of the device holds no answer: it needs {needs / GIB:.1f} GiB at least"
    return _phase("sample", job, parts, missing, why)


def _estimate(job: Job) -> Phase:
    parts, worst, names = _always(job), 0, dict[str, int]()
    _sleeping(job, parts)
    largest = job.work.largest(job.holding.ranks)
    for name in job.scores:
        subject = job.scorer(name)
        brought = gathered(subject.weights, job.holding, subject.itemsize, learns=name in job.learners)
        running = subject.forward(largest.tokens, largest.scored, largest.prompts, largest.rows).peak
        if brought + running > worst:
            worst, names = brought + running, {"gathered weights": brought, f"forward pass ({name})": running}
    for part, size in names.items():
        parts.add(part, size)
    return _phase("estimate", job, parts)


def _optimise(job: Job) -> Phase:
    largest, ranks = job.work.largest(job.holding.ranks), job.holding.ranks
    candidates = []
    for subject in job.learners.values():
        parts = _always(job)
        _sleeping(job, parts)
        learn(subject, job.holding, largest, job.work.micro_batches(ranks), parts)
        candidates.append(parts)
    return _phase("optimise", job, max(candidates, key=lambda parts: parts.total))


def _publish(job: Job) -> Phase:
    parts = _always(job)
    if job.engine.kind == "beside":
        parts.add("engine, awake", _share(job))
    if job.holding.in_parts or job.engine.kind != "embedded":
        parts.add("one weight, whole", job.policy.weights.largest * job.policy.itemsize)
    return _phase("publish", job, parts)


def _phase(name: str, job: Job, parts: Parts, missing: int = 0, why: str = "") -> Phase:
    if job.on_host:
        for part, size in parts.host.items():
            parts.add(part, size)
        parts = Parts(parts.device)
    over = max(0, int(parts.total - job.memory))
    return Phase(name, parts.device, parts.host, max(over, missing), why if missing > over else "")


def rows(job: Job) -> int:
    """Answers that one engine draws side by side."""
    answers = job.work.answers(job.holding.ranks)
    if job.engine.kind == "embedded":
        return _rooms(job) * job.work.samples
    if job.engine.kind == "elsewhere":
        return min(job.engine.rows, answers)
    per_answer = job.policy.kv_bytes * (job.work.prompt_len + job.work.response_len) / job.engine.tp
    room = _share(job) - _weights_in_engine(job) - ENGINE_BUFFERS
    return max(1, min(job.engine.rows, answers, int(room / per_answer)))


def _rooms(job: Job) -> int:
    """Prompts the embedded engine answers side by side: see EmbeddedEngine."""
    work, prompts = job.work, job.work.answers(job.holding.ranks) // job.work.samples
    if job.engine.rows:
        return min(prompts, max(1, job.engine.rows // work.samples))
    per_token = kv_bytes_per_token(job.policy.config, FLOAT)
    room = max(1, CACHE_BYTES // (per_token * (2 * work.prompt_len + work.samples * work.budget_len)))
    return min(prompts, room)


def _embedded(job: Job, parts: Parts) -> None:
    """Its cache in float32, copies of weights on the CPU, and the larger of reading prompts and of drawing tokens."""
    weights = job.policy.weights
    if job.on_host and lays_out(job.policy.dtype, torch.device("cpu")):
        linear = weights.total - weights.table - weights.quantised
        parts.add("weights laid out for decoding", linear * job.policy.itemsize)
    work, per_token = job.work, kv_bytes_per_token(job.policy.config, FLOAT)
    room = _rooms(job)
    slots, rows = min(2 * room, work.answers(job.holding.ranks) // work.samples), room * work.samples
    prompts = rows if copied(rows, work.prompt_len, per_token) else slots
    parts.add("keys and values", per_token * (prompts * work.prompt_len + rows * work.budget_len))
    tokens = room * work.prompt_len
    reading = job.policy.forward(tokens, 1, room).peak + job.policy.kv_bytes * tokens
    drawing = rows * job.policy.vocabulary * FLOAT * 4
    parts.add("reading prompts" if reading > drawing else "drawing tokens (logits)", max(reading, drawing))


def _share(job: Job) -> int:
    """The part of a device an engine beside takes: on the CPU weights and the longest answers' keys and values."""
    if not job.on_host:
        return int(job.engine.mem_util * job.memory)
    longest = job.work.prompt_len + job.work.budget_len
    wanted = job.policy.kv_bytes * (longest + 256) * (job.engine.rows + 1)
    return int(_weights_in_engine(job) + min(wanted, job.engine.mem_util * job.memory))


def _weights_in_engine(job: Job) -> int:
    return int(job.policy.weights.total * job.engine.weight_bytes / job.engine.tp)


def _least(job: Job) -> int:
    """What an engine beside cannot do without: weights, its buffers, keys and values of one longest answer."""
    longest = job.work.prompt_len + job.work.budget_len
    buffers = 0 if job.on_host else ENGINE_BUFFERS
    return int(_weights_in_engine(job) + buffers + job.policy.kv_bytes * longest / job.engine.tp)


def _sleeping(job: Job, parts: Parts) -> None:
    if job.engine.kind != "beside":
        return
    if job.on_host or not job.engine.sleeps:
        parts.add("engine, awake", _share(job))
    else:
        parts.add("engine, asleep", ASLEEP)

"""The receipt of a hand-over: what was sent, what arrived, and whether the engine now answers as the trainer does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lightrft_core import Metrics
from lightrft_strategy.engines.sync.fingerprint import digest


class SyncError(RuntimeError):
    """The engine does not hold the trainer's weights. The message names the parameter, or the probe's gap."""


@dataclass(frozen=True)
class Received:
    """What a worker says it has taken.

    fingerprints: by first name, made in so many seconds. missing: names it holds weights for but was sent none.
    """

    version: int
    fingerprints: Mapping[str, str]
    missing: Sequence[str] = ()
    fingerprint_seconds: float = 0.0


@dataclass(frozen=True)
class Tolerance:
    """How far the probe's log-probabilities may lie apart: the mean and the largest difference, in nats."""

    mean: float
    largest: float

    @classmethod
    def of(cls, dtype: torch.dtype, *, quantised: bool = False) -> Tolerance:
        """For weights computed in this type; quantised: the engine holds them in eight bits."""
        if quantised:
            return cls(0.5, 10.0)
        return cls(1e-4, 1e-4) if dtype == torch.float32 else cls(0.2, 2.0)


@dataclass(frozen=True)
class Receipt:
    """One hand-over.

    tensors, bytes: what was sent. digest: over all fingerprints. hand_over_seconds: until the last worker had them,
    less what the slowest spent on fingerprints; check_seconds: for fingerprints on both sides and the probe.
    gap_mean, gap_max: of the probe.
    moved: the probe's largest change in the engine since the last version; None the first time.
    """

    version: int
    tensors: int
    bytes: int
    digest: str
    hand_over_seconds: float
    check_seconds: float
    gap_mean: float
    gap_max: float
    moved: float | None

    def metrics(self) -> Metrics:
        """The sync/* entries of a metrics line."""
        metrics = Metrics()
        metrics.max("sync/version", [self.version])
        metrics.max("sync/gib", [self.bytes / 2**30])
        metrics.max("sync/tensors", [self.tensors])
        metrics.max("time/sync_hand_over", [self.hand_over_seconds])
        metrics.max("time/sync_check", [self.check_seconds])
        metrics.max("time/sync_gb_per_second", [self.bytes / 1e9 / max(self.hand_over_seconds, 1e-9)])
        metrics.max("sync/probe_gap_mean", [self.gap_mean])
        metrics.max("sync/probe_gap_max", [self.gap_max])
        if self.moved is not None:
            metrics.max("sync/probe_moved", [self.moved])
        return metrics


def check_arrival(version: int, sent: Mapping[str, str], received: Sequence[Received]) -> str:
    """The digest of what was sent. Raises SyncError, naming the parameter, unless every worker received just that."""
    if not received:
        raise SyncError(f"no worker of the engine answered for version {version}")
    for rank, worker in enumerate(received):
        if worker.version != version:
            raise SyncError(f"worker {rank} took weights of version {worker.version}, not {version}")
        wrong = [name for name in sent if worker.fingerprints.get(name) != sent[name]]
        if wrong:
            state = "never arrived" if wrong[0] not in worker.fingerprints else "arrived with other bytes"
            raise SyncError(f"{wrong[0]} {state} in worker {rank} ({len(wrong)} of {len(sent)} parameters are wrong)")
        if worker.missing:
            names = ", ".join(worker.missing[:3])
            raise SyncError(
                f"worker {rank} holds {len(worker.missing)} weights that nothing was sent for: {names}; the engine "
                "names the model's parameters otherwise than the trainer does"
            )
    return digest(sent)


def check_probe(ours: Sequence[float], engine: Sequence[float], tolerance: Tolerance) -> tuple[float, float]:
    """(mean, largest) difference of the probe's log-probabilities. Raises SyncError beyond the tolerance."""
    gaps = (torch.tensor(ours, dtype=torch.float64) - torch.tensor(engine, dtype=torch.float64)).abs()
    mean, largest = float(gaps.mean()), float(gaps.max())
    if not (mean <= tolerance.mean and largest <= tolerance.largest):
        place = int(gaps.nan_to_num(torch.inf).argmax()) + 1
        raise SyncError(
            f"every parameter arrived, yet the engine's log-probabilities are not the trainer's: token {place} of the "
            f"probe differs by {largest:.3g} nats, the mean by {mean:.3g} (allowed: {tolerance.largest:g} and "
            f"{tolerance.mean:g}); `lightrft audit-logprobs` looks closer"
        )
    return mean, largest

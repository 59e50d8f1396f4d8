"""Numbers about the service in Prometheus' text format (version 0.0.4); used on the event loop alone."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lightrft_rewards.service.schema import STATUSES, Result

PREFIX = "lightrft_reward_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SIZES = tuple(float(2**power) for power in range(13))


@dataclass
class Histogram:
    """How many observations there are up to each bound. bounds: ascending, without infinity."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> Iterator[str]:
        """Its samples, cumulative as Prometheus wants them."""
        reached = 0
        for bound, count in zip([*(f"{bound:g}" for bound in self.bounds), "+Inf"], self.counts, strict=True):
            reached += count
            yield f'{name}_bucket{{le="{bound}"}} {reached}'
        yield f"{name}_sum {self.total!r}"
        yield f"{name}_count {reached}"


class ServiceMetrics:
    """What the service has done since it started."""

    def __init__(self) -> None:
        self._samples = Counter[str](dict.fromkeys(STATUSES, 0))
        self._answers = Counter[int]()
        self.scorer_failures = 0
        self.batch_sizes = Histogram(SIZES)
        self.scoring_seconds = Histogram(SECONDS)
        self.request_seconds = Histogram(SECONDS)

    def count_results(self, results: Iterable[Result]) -> None:
        """Samples that were answered, by status."""
        self._samples.update(result.status for result in results)

    def count_answer(self, code: int, seconds: float) -> None:
        """An HTTP answer to a request for judgement. seconds: since its headers were read."""
        self._answers[code] += 1
        self.request_seconds.observe(seconds)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Everything. gauges: name -> what it is, and how much it is now."""
        lines: list[str] = []

        def write(name: str, kind: str, about: str, samples: Iterable[str]) -> None:
            lines.extend([f"# HELP {PREFIX}{name} {about}", f"# TYPE {PREFIX}{name} {kind}", *samples])

        def counter(name: str, about: str, label: str, counts: Mapping[str, int] | Mapping[int, int]) -> None:
            rows = (f'{PREFIX}{name}{{{label}="{key}"}} {count}' for key, count in sorted(counts.items()))
            write(name, "counter", about, rows)

        counter("samples_total", "Samples answered, by status.", "status", self._samples)
        counter("answers_total", "HTTP answers to requests for judgement, by status code.", "code", self._answers)
        failures = [f"{PREFIX}scorer_failures_total {self.scorer_failures}"]
        write("scorer_failures_total", "counter", "Calls of the scorer that raised or returned nonsense.", failures)
        histograms = (
            ("batch_samples", "Samples judged together.", self.batch_sizes),
            ("scoring_seconds", "Time the scorer took for a batch.", self.scoring_seconds),
            ("request_seconds", "Time from a request's headers to its answer.", self.request_seconds),
        )
        for name, about, histogram in histograms:
            write(name, "histogram", about, histogram.lines(f"{PREFIX}{name}"))
        for name, (about, value) in gauges.items():
            write(name, "gauge", about, [f"{PREFIX}{name} {value:g}"])
        return "\n".join(lines) + "\n"

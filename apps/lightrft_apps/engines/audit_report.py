"""What an audit found: the numbers, the verdict, and how they are told to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from lightrft_apps.config.audit import PASS, WARN, Limits
from lightrft_core import TIS, Metrics
from lightrft_core.corrections import measure_gap
from lightrft_core.ratios import MAX_LOG_RATIO
from lightrft_strategy.engines.sync.receipt import Receipt

FIRST_POSITIONS = 8
"""Answers are looked at by position up to this one, then up to twice as far, and so on."""

GROWS = 4
"""How many times as large the gap of the last positions is, if errors add up along an answer."""

COLOURS = {"PASS": "green", "WARN": "yellow", "FAIL": "red"}


@dataclass(frozen=True)
class Scores:
    """Every sampled token, seen from both sides.

    trainer, engine: [tokens] float64 log-probabilities. answers: [tokens] which answer a token belongs to, from 0 on
    without holes. positions: [tokens] its place there, from 0 on.
    """

    trainer: Tensor
    engine: Tensor
    answers: Tensor
    positions: Tensor

    @property
    def gap(self) -> Tensor:
        """[tokens] trainer - engine."""
        return self.trainer - self.engine

    def numbers(self) -> dict[str, float]:
        """As training measures them, under the same names, and two more.

        outside_share: of tokens whose probability differs by more than a factor of 2. sequence_effective_share:
        effective sample size of the answers' weights, exp(sum of an answer's gaps), as a share of the answers.
        """
        metrics = Metrics()
        touched = TIS.weights(self.trainer, self.engine, self.answers)[1]
        measure_gap(self.trainer, self.engine, self.answers, touched, metrics)
        sums = torch.zeros(int(self.answers.max()) + 1, dtype=torch.float64).index_add(0, self.answers, self.gap)
        metrics.mean("outside_share", ~(self.gap.abs() <= log(2)))
        metrics.effective_share("sequence_effective_share", sums.clamp(max=MAX_LOG_RATIO).exp())
        return metrics.result()

    def by_position(self) -> list[dict[str, float]]:
        """The gap along the answers: first and last token of a stretch, counted from 1, its tokens, mean and max."""
        stretches, first, end, longest = [], 0, FIRST_POSITIONS, int(self.positions.max()) + 1
        while first < longest:
            gap = self.gap[(self.positions >= first) & (self.positions < end)].abs()
            mean, largest = float(gap.mean()), float(gap.max())
            last = min(end, longest)
            stretches.append({"first": first + 1, "last": last, "tokens": len(gap), "mean": mean, "max": largest})
            first, end = end, 2 * end
        return stretches

    def worst(self, count: int) -> list[int]:
        """Indices of the tokens with the largest gaps, the largest first."""
        return self.gap.abs().nan_to_num(torch.inf).argsort(descending=True)[:count].tolist()


def verdict_of(numbers: Mapping[str, float], dtype: str, *, refused: str, failure: str) -> tuple[str, str]:
    """(PASS, WARN or FAIL, why).

    dtype: whose limits hold. refused: how many prompts got no answers, failure: of the hand-over; "" if all is well.
    """
    mean, largest = numbers["engine/logprob_gap_mean"], numbers["engine/logprob_gap_max"]
    outside = numbers["outside_share"]
    found = f"gap mean {mean:.2g}, max {largest:.2g}, outside {outside:.2%}"

    def within(limits: Limits) -> bool:
        return limits.admits(mean, largest, outside)

    if failure:
        return "FAIL", f"the hand-over of the weights failed; {found}"
    if not within(WARN[dtype]):
        return "FAIL", f"engine and trainer compute different models: {found} (WARN in {dtype}: {WARN[dtype]})"
    if not within(PASS[dtype]):
        return "WARN", f"engine and trainer differ more than by rounding: {found} (PASS in {dtype}: {PASS[dtype]})"
    if refused:
        return "WARN", f"engine and trainer agree, but {refused} prompts got no answers; {found}"
    return "PASS", f"engine and trainer agree: {found} (PASS in {dtype}: {PASS[dtype]})"


def causes_in(scores: Scores, noise: float) -> list[str]:
    """What the gap itself looks like. noise: nats that are rounding."""
    causes, by_position = [], scores.by_position()
    if float(scores.gap.mean()) < -noise and float((scores.gap <= noise).double().mean()) > 0.99:
        causes.append(
            "a narrower law: the engine finds nearly every sampled token likelier than the trainer does, as when "
            "tokens were cut off (top-p, top-k, a minimum length or a list of allowed tokens in the engine)"
        )
    if len(by_position) > 1 and by_position[-1]["mean"] > GROWS * max(by_position[0]["mean"], noise):
        causes.append(
            "errors that add up: the gap grows along the answer, as with wrong positions (another chat template or "
            "rope scaling), a sliding window, or keys and values in low precision"
        )
    return causes


def show(console: Console, report: Mapping[str, Any], *, receipt: Receipt | None) -> None:
    """Print an audit as audit.json holds it."""

    def line(text: str, style: str = "") -> None:
        console.print(escape(text), style=style, highlight=False, soft_wrap=True)

    if receipt is not None:
        line(receipt_line(receipt))
    elif not report["hand_over_failure"]:
        line("weights   the embedded engine samples from the trainer's own: nothing is handed over")
    numbers = report["numbers"]
    line(f"answers   {report['answers']} to {report['prompts']} prompts, {report['tokens']} tokens, {report['dtype']}")
    line(
        f"tokens    gap mean {numbers['engine/logprob_gap_mean']:.2e}, max {numbers['engine/logprob_gap_max']:.2e}, "
        f"outside {numbers['outside_share']:.2%}, effective share {numbers['engine/weight_effective_share']:.4f}"
    )
    line(
        f"sums      |sum of an answer's gaps| mean {numbers['engine/sequence_gap_mean']:.2e}, "
        f"max {numbers['engine/sequence_gap_max']:.2e}, effective share {numbers['sequence_effective_share']:.4f}"
    )
    line("position  tokens  gap mean       max")
    for part in report["by_position"]:
        line(f"{part['first']:>4}-{part['last']:<4} {part['tokens']:>6}  {part['mean']:.2e}  {part['max']:.2e}")
    line("worst tokens: position, text, log-probability in the trainer and in the engine, gap, prompt")
    for token in report["worst_tokens"]:
        trainer, engine = token["trainer"], token["engine"]
        line(
            f"{token['position']:>8}  {token['text']!r:<14} {trainer:>9.4f} {engine:>9.4f}  {trainer - engine:+.1e}  "
            f"{token['prompt']} sample {token['sample']}"
        )
    line(f"{report['verdict']}: {report['reason']}", COLOURS[report["verdict"]])
    for advice in report["advice"]:
        line(f"  - {advice}")


def receipt_line(receipt: Receipt) -> str:
    """A hand-over in a line."""
    speed = receipt.bytes / 1e9 / max(receipt.hand_over_seconds, 1e-9)
    return (
        f"weights   version {receipt.version}: {receipt.tensors} tensors, {receipt.bytes} bytes, digest "
        f"{receipt.digest}, {receipt.hand_over_seconds:.2f} s ({speed:.2f} GB/s), probe gap mean "
        f"{receipt.gap_mean:.1e}, max {receipt.gap_max:.1e}"
    )


def advice_for(verdict: str, causes: Sequence[str]) -> list[str]:
    """What to do, the likeliest cause first."""
    if verdict == "PASS":
        return []
    correct = "train with --enable_vllm_is_correction, and watch engine/logprob_gap_mean"
    if verdict == "WARN":
        return [correct, *causes]
    return [
        *(f"likely: {cause}" for cause in causes),
        "also possible: the engine computes in another dtype; it holds other weights than --pretrain (an old engine "
        "behind --engine_url, another revision); it computes this architecture in another way than transformers does",
        "to tell engine from model, audit again with --engine_type embedded, which should PASS",
    ]


def as_json(receipt: Receipt | None) -> dict[str, Any] | None:
    """A receipt as audit.json holds it."""
    return None if receipt is None else asdict(receipt)

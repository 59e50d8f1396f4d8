"""What a person sees while a run runs: a live line on a terminal, a plain line a step elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lightrft_apps.recording.held_out import accuracies

PHASES = {
    "sample": "sampling answers",
    "judge": "judging",
    "estimate": "estimating advantages",
    "optimise": "optimising",
    "publish": "publishing weights",
    "evaluate": "evaluating",
    "checkpoint": "saving a checkpoint",
}


class Progress:
    """Use as a context manager around the run. answers: rollouts of a step, for the bar of the running phase.

    quiet: show nothing, as all but the first of several processes do.
    """

    def __init__(self, *, num_steps: int, done: int, answers: int, live: bool, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.answers = answers
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
            disable=quiet or not (live and self.console.is_terminal),
        )
        self.steps = self.bars.add_task("step", total=num_steps, completed=done)
        self.current = self.bars.add_task("starting", total=None)

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def phase(self, name: str, step: int) -> None:
        """A phase begins."""
        total = self.answers if name == "sample" else None
        self.bars.reset(self.current, total=total, description=f"[dim]{PHASES[name]}[/dim]")

    def advance(self, answers: int) -> None:
        """So many more answers are finished."""
        self.bars.advance(self.current, answers)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """A step is finished: print its line."""
        parts = [f"step {step:>4}"]
        if "reward/mean" in metrics:
            parts.append(f"reward {metrics['reward/mean']:.3f}")
            parts.append(f"length {metrics['rollout/length_mean']:.1f}")
            parts.append(f"no signal {metrics['group/zero_signal_share']:.0%}")
            used, bubble = metrics["time/bandwidth_utilisation"], metrics["rollout/bubble_ratio"]
            speed = f"{metrics['time/tokens_per_second']:.0f} tokens/s"
            parts.append(f"{speed} [dim](bandwidth {used:.0%}, bubble {bubble:.0%})[/dim]")
        if "data/tokens" in metrics:
            loss = metrics.get("policy/nll", metrics.get("rm/loss", nan))
            parts.append(f"loss {loss:.3f}")
            parts.append(f"{metrics['data/tokens'] / max(metrics['time/step'], 1e-9):.0f} tokens/s")
        if "eval/nll" in metrics:
            parts.append(f"[bold]held-out loss {metrics['eval/nll']:.3f}[/bold]")
        if "sync/probe_gap_max" in metrics:
            parts.append(f"weights {metrics['sync/version']:.0f} arrived, gap {metrics['sync/probe_gap_max']:.0e}")
        for name, accuracy in accuracies(metrics).items():
            parts.append(f"[bold]held-out {name} {accuracy:.1%}[/bold]")
        phases = [f"{name} {metrics[f'time/{name}']:.1f}" for name in PHASES if metrics.get(f"time/{name}", 0) >= 0.05]
        of_which = f" ({', '.join(phases)})" if phases else ""
        seconds = f"[dim]{metrics['time/step']:.1f} s{of_which}[/dim]"
        self.console.print("  ".join([*parts, seconds]), highlight=False, soft_wrap=True)
        self.bars.update(self.steps, completed=step)

    def say(self, message: str) -> None:
        """A line that stays."""
        self.console.print(escape(message), highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """A line that should be noticed."""
        self.console.print(f"[yellow]warning:[/yellow] {escape(message)}", highlight=False, soft_wrap=True)

"""The picture of a run on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightrft_apps.drawing.harmless import harmless
from lightrft_apps.drawing.terminal import bar, duration, number, spark
from lightrft_apps.recording.progress import PHASES
from lightrft_apps.watching.readings import Line, Seen

CURVES = (
    ("reward/mean", "reward"),
    ("eval/accuracy", "accuracy, held out"),
    ("rollout/length_mean", "length"),
    ("rollout/truncated_share", "cut off"),
    ("policy/entropy", "entropy"),
    ("policy/kl_reference", "KL to the reference"),
    ("engine/logprob_gap_mean", "engine to trainer gap"),
    ("optimiser/grad_norm", "gradient norm"),
    ("policy/nll", "loss"),
    ("eval/nll", "loss, held out"),
    ("rm/loss", "loss"),
    ("rm/accuracy", "accuracy"),
    ("rm/grad_norm", "gradient norm"),
)
"""Numbers whose course is shown, where a run has them, and what they are called."""

MOST_RANKS, MOST_WARNINGS, MOST_ANSWER_LINES = 8, 3, 4
SILENT = 30.0
"""Seconds without a word after which a rank is marked."""

STATES = {"done": "[bold green]done[/]", "running": "[bold cyan]running[/]", "stopped": "[bold yellow]stopped[/]"}


def frame(seen: Seen, width: int) -> RenderableType:
    """The picture, for a terminal of so many columns."""
    parts = [_head(seen), *_progress(seen, width), *_ranks(seen), *_curves(seen, width), *_times(seen, width)]
    parts += [*_memory(seen), *_warnings(seen, width), *_answer(seen, width)]
    return Group(*parts)


def _head(seen: Seen) -> RenderableType:
    what = [seen.settings.get(name) for name in ("algorithm", "pretrain")]
    text = Text.from_markup(STATES[seen.state])
    text.append(harmless("".join(f"  {part}" for part in [f"lightrft {seen.command}", *filter(None, what)])))
    text.append(harmless(f"  {seen.path}"), style="dim")
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _progress(seen: Seen, width: int) -> Iterator[RenderableType]:
    if seen.num_steps:
        share, cells = seen.step / seen.num_steps, max(10, width // 2)
        yield Text(f"step {seen.step} of {seen.num_steps}  {bar(share, cells):·<{cells}}  {share:.0%}", no_wrap=True)
    parts = [] if seen.num_steps else [f"step {seen.step}"]
    if seen.lines:
        parts.append(f"{duration(sum(line.get('time/step', 0.0) for line in seen.lines))} so far")
    left = seen.seconds_left()
    if left is not None and seen.state == "running":
        parts.append(f"about {duration(left)} left")
    if seen.state == "stopped":
        parts.append("nothing runs here: the same command goes on")
    elif seen.state == "running" and seen.since is not None:
        parts.append(f"newest step {duration(seen.now - seen.since)} ago")
    yield Text(", ".join(parts), style="dim")


def _ranks(seen: Seen) -> Iterator[RenderableType]:
    """What each rank does, of many those that have done it longest; where nothing runs, those that have failed."""
    beats = [beat for beat in seen.beats if seen.state == "running" or beat.get("state") == "failed"]
    if not beats or seen.state == "done":
        return
    longest = sorted(beats, key=lambda beat: beat["since"])[:MOST_RANKS]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for beat in sorted(longest, key=lambda beat: beat["rank"]):
        phase = str(beat["phase"])
        doing = PHASES.get(phase, phase)
        step = f" of step {beat['step']}" if beat.get("step") is not None else ""
        silent = seen.now - beat["beat"]
        waits = f"waits for {beat['waiting_for']}" if beat.get("waiting_for") else ""
        troubled = silent > SILENT or beat.get("state") == "failed"
        if troubled:
            waits = f"failed: {beat.get('why')}" if beat.get("state") == "failed" else f"no word for {duration(silent)}"
        table.add_row(
            Text(f"rank {beat['rank']}", style="dim"),
            Text(harmless(doing + step)),
            Text(f"for {duration(seen.now - beat['since'])}"),
            Text(harmless(waits), style="yellow" if troubled else "dim"),
        )
    yield Text("")
    yield table
    if len(beats) > MOST_RANKS:
        yield Text(f"and {len(beats) - MOST_RANKS} more ranks, each for a shorter time", style="dim")


def _curves(seen: Seen, width: int) -> Iterator[RenderableType]:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    room = max(8, min(60, width - 60))
    for name, called in CURVES:
        values = [line[name] for line in seen.lines if isinstance(line.get(name), (int, float))]
        if values:
            table.add_row(
                called,
                Text(spark(values, room), style="cyan"),
                Text(number(values[-1]), style="bold"),
                Text(f"{number(min(values))} to {number(max(values))}", style="dim"),
            )
    if table.row_count:
        yield Text("")
        yield table


def _times(seen: Seen, width: int) -> Iterator[RenderableType]:
    """Where the newest step's time went."""
    if not seen.lines:
        return
    line = seen.lines[-1]
    times = {name: line[f"time/{name}"] for name in PHASES if line.get(f"time/{name}")}
    whole = line.get("time/step") or sum(times.values())
    if not times or not whole:
        return
    table, room = Table(box=None, padding=(0, 2, 0, 0), show_header=False), max(8, min(40, width - 45))
    for name, seconds in times.items():
        share = seconds / whole
        table.add_row(PHASES[name], Text(bar(share, room), style="green"), duration(seconds), f"{share:.0%}")
    yield Text("")
    speed = line.get("time/tokens_per_second")
    words = f"step {line['step']} took {duration(whole)}" + (f", sampled {speed:.0f} tokens/s" if speed else "")
    yield Text(words, style="dim")
    yield table


def _memory(seen: Seen) -> Iterator[RenderableType]:
    peaks = {name: value for name, value in (seen.lines[-1] if seen.lines else {}).items() if _is_peak(name)}
    if peaks:
        most = max(peaks, key=lambda name: peaks[name])
        phase = most.removeprefix("memory/").removesuffix("_peak_gib")
        yield Text(f"memory {peaks[most]:.2f} GiB at most, while {PHASES.get(phase, phase)}", style="dim")


def _is_peak(name: str) -> bool:
    return name.startswith("memory/") and name.endswith("_peak_gib")


def _warnings(seen: Seen, width: int) -> Iterator[RenderableType]:
    if not seen.warnings:
        return
    newest, count = list(seen.warnings)[-MOST_WARNINGS:], len(seen.warnings)
    yield Text("")
    yield Text("one warning:" if count == 1 else f"{count} warnings" + (", the newest:" * (len(newest) < count) or ":"))
    for line in newest:
        text = harmless(f"step {line.get('step')}: {line.get('warning')}").replace("\n", " ").replace("\t", " ")
        yield Text(text, style="yellow", no_wrap=True, overflow="ellipsis")


def _answer(seen: Seen, width: int) -> Iterator[RenderableType]:
    row: Line | None = seen.sample
    if row is None:
        return
    reward = "not judged" if row["reward"] is None else f"reward {number(row['reward'])}"
    kind = "an answer of the evaluation at" if row["of"] == "eval" else "an answer of"
    yield Text("")
    yield Text(f"{kind} step {row['step']}, {reward}, ends by {row['finish_reason']}", style="dim")
    for text, style in ((row["prompt"], "dim"), (row["response"], "")):
        lines = harmless(text or "").replace("\t", " ").strip().splitlines() or [""]
        for line in [*lines[:MOST_ANSWER_LINES], *(["..."] if len(lines) > MOST_ANSWER_LINES else [])]:
            yield Text(f"  {line[: 4 * width]}", style=style, no_wrap=True, overflow="ellipsis")

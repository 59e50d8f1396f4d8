"""The page as one file: data and code together, with a policy that lets nothing else in."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from lightrft_apps.config.commands.report import MOST
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.reporting.facts import RunFacts, curves, read_run, recipes
from lightrft_apps.reporting.media import carried
from lightrft_apps.reporting.packed import packed
from lightrft_apps.reporting.selection import gather

PAGE = Path(__file__).parent / "page"

MODULES = (
    "elements",
    "data",
    "colours",
    "charts",
    "overview",
    "curves",
    "settings",
    "answers",
    "filters",
    "viewer",
    "main",
)
"""The page's code, in the order in which it is read."""


@dataclass(frozen=True)
class Written:
    """A page that was written. answers, left_out: how many it shows, and not. unread: damaged files, in words."""

    path: Path
    runs: int
    answers: int
    left_out: int
    unread: Sequence[str]


def write_report(folders: Sequence[Path], output: Path, most: int = MOST) -> Written:
    """Write the page of these runs, or of those that lie in these folders. It appears whole or not at all.

    Raises FileNotFoundError if there is a folder without any run.
    """
    runs = [run for folder in folders for run in _runs_in(folder)]
    answers = gather([run.folder.trajectories for run in runs], most)
    media = carried([run.folder.media for run in runs], answers.media)
    facts = {
        "runs": [run.shown() for run in runs],
        "recipes": recipes(runs),
        "curves": curves(runs),
        "scales": answers.scales,
        "kept": answers.kept,
        "left_out": answers.left_out,
        "unread": answers.unread,
        "parts": len(answers.parts),
        "media": media.types,
        "media_left_out": media.left_out,
        "version": metadata.version("lightrft-apps"),
    }
    blocks = {"facts": packed(facts), "index": answers.index}
    blocks |= {f"part-{number}": part for number, part in enumerate(answers.parts)}
    blocks |= {f"media-{sha}": content for sha, content in media.files.items()}
    unfinished = output.with_name(f"{output.name}.unfinished")
    unfinished.write_text(_page(_title(runs), blocks), encoding="utf-8")
    unfinished.replace(output)
    return Written(output, len(runs), answers.kept, answers.left_out, answers.unread)


def report_at_end(run: RunDirectory, warn: Callable[[str], None]) -> None:
    """The page of a run that has ended; it warns where that cannot be written: the run is what it is without."""
    try:
        for unread in write_report([run.path], run.report).unread:
            warn(f"{run.report} leaves out a file: {unread}")
    except Exception as error:  # noqa: BLE001
        warn(f"{run.report} is not written: {error!r}; lightrft report {run.path} tries again")


def _runs_in(folder: Path) -> list[RunFacts]:
    """The run of a folder, or all that lie below it, named by the folders they lie in."""
    if _holds_run(folder):
        return [read_run(folder, _name(folder))]
    below = sorted(path.parent for path in folder.rglob("config.yaml") if _holds_run(path.parent))
    if not below:
        raise FileNotFoundError(f"{folder} holds no run (config.yaml and metrics.jsonl), nor does a folder in it")
    return [read_run(path, str(path.relative_to(folder))) for path in below]


def _holds_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "metrics.jsonl").is_file()


def _name(folder: Path) -> str:
    return "/".join(folder.resolve().parts[-2:]).lstrip("/")


def _title(runs: Sequence[RunFacts]) -> str:
    return f"{runs[0].name} · LightRFT" if len(runs) == 1 else f"{len(runs)} runs · LightRFT"


def _page(title: str, blocks: Mapping[str, str]) -> str:
    """The whole file. Nothing of a run stands in it but the title, escaped, and letters of base64."""
    style = (PAGE / "report.css").read_text("utf-8")
    modules = [(PAGE / f"{name}.js").read_text("utf-8") for name in MODULES]
    script = "\n".join(['"use strict";', "(() => {", *modules, "})();"])
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    carried = "\n".join(
        f'<script type="application/octet-stream" id="{name}">{content}</script>' for name, content in blocks.items()
    )
    fills: dict[str, Any] = {
        "title": _escaped(title),
        "policy": policy,
        "style": style,
        "script": script,
        "blocks": carried,
    }
    page = (PAGE / "report.html").read_text("utf-8")
    pieces = page.split("{{")
    return pieces[0] + "".join(fills[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def _escaped(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " ._-/·" else f"&#{ord(letter)};" for letter in text)


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"

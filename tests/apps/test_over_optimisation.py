"""The picture of true and model reward over a run: everything that was measured, and the verdict in words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lightrft_apps.quickstart.over_optimisation import picture, write_over_optimisation
from lightrft_rewards.evaluation import over_optimisation

SVG = "{http://www.w3.org/2000/svg}"
STEPS = list(range(1, 31))
TRUE = [step / 30 if step <= 15 else 1 - step / 30 for step in STEPS]
MODEL = [step / 3 - 4 for step in STEPS]


def test_it_has_a_point_for_each_reward_and_a_line_for_each_curve() -> None:
    root = ElementTree.fromstring(picture(over_optimisation(STEPS, TRUE, MODEL)))
    circles, lines = root.findall(f"{SVG}circle"), root.findall(f"{SVG}polyline")
    assert (len(circles), len(lines)) == (60, 2)
    heights = [float(circle.get("cy", "")) for circle in circles]
    true, model = heights[:30], heights[30:]
    assert min(true) == true[14]
    assert model == sorted(model, reverse=True)
    assert all(64 <= height <= 310 for height in heights)
    of_axes = [text for text in root.iter(f"{SVG}text") if re.fullmatch(r"-?[\d.]+", text.text or "") and text.get("y")]
    by_side = {
        anchor: [text.text for text in of_axes if text.get("text-anchor") == anchor] for anchor in ("end", "start")
    }
    assert by_side == {"end": ["0", "0.1", "0.2", "0.3", "0.4", "0.5"], "start": ["-4", "-2", "0", "2", "4", "6"]}


def test_what_is_seen_is_marked_at_its_step_and_said() -> None:
    found = over_optimisation(STEPS, TRUE, MODEL)
    assert found.step is not None
    root = ElementTree.fromstring(picture(found))
    (mark,) = [line for line in root.findall(f"{SVG}line") if line.get("stroke") == "#b00000"]
    points = [circle for circle in root.findall(f"{SVG}circle") if circle.get("cx") == mark.get("x1")]
    assert len(points) == 2
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert found.sentence in words
    assert f"from step {found.step} on" in words
    unseen = ElementTree.fromstring(picture(over_optimisation(STEPS, MODEL, MODEL)))
    assert not [line for line in unseen.findall(f"{SVG}line") if line.get("stroke") == "#b00000"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_steps_are_drawn_as_they_are(count: int) -> None:
    root = ElementTree.fromstring(picture(over_optimisation(STEPS[:count], TRUE[:count], MODEL[:count])))
    assert len(root.findall(f"{SVG}circle")) == 2 * count


def test_the_file_holds_what_was_found(tmp_path: Path) -> None:
    write_over_optimisation(over_optimisation(STEPS, TRUE, MODEL), tmp_path)
    found = json.loads((tmp_path / "over_optimisation.json").read_text())
    assert (found["verdict"], found["steps"], found["true_rewards"]) == ("seen", STEPS, TRUE)
    ElementTree.parse(tmp_path / "over_optimisation.svg")

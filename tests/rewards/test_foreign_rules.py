"""Rules that other packages bring, found through their entry points."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightrft_rewards import RewardPool, RewardSetupError, Sample, Scoring, parse_routes

MODULE = """
from lightrft_rewards import Rule

def length(response, label):
    return len(response) / 10

def wrong(response, label):
    return float("nan") if label else {}["missing"]

exact = Rule(lambda response, label: float(response == label), measures_accuracy=True)
number = 3
"""
ENTRY_POINTS = """
[lightrft.rewards]
length = foreign_rules:length
wrong = foreign_rules:wrong
exact = foreign_rules:exact
number_of_things = foreign_rules:number
absent = foreign_rules_missing:absent
"""


@pytest.fixture
def foreign_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "foreign_rules.py").write_text(MODULE)
    about = tmp_path / "foreign_rules-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-rules\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return about


@pytest.mark.usefixtures("foreign_package")
def test_a_foreign_package_adds_rules_by_entry_point() -> None:
    scoring = Scoring(routes=parse_routes({"": "length:2,exact", "wrong": "wrong"}))
    with RewardPool(scoring, num_workers=1) as pool:
        samples = [Sample("seven", "seven"), Sample("x", 1, route="wrong"), Sample("x", 0, route="wrong")]
        [[good, nan, raising]] = pool.score([samples])
    assert (good.score, good.accuracy, good.parts) == (2.0, 1.0, {"length": 0.5, "exact": 1.0})
    assert nan.error == "rule wrong on an unnamed sample: its reward nan is not a finite number"
    assert "KeyError: 'missing' (" in raising.error
    assert "foreign_rules.py:8)" in raising.error


@pytest.mark.usefixtures("foreign_package")
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("number_of_things", "foreign_rules:number is neither a function nor a Rule"),
        ("absent", "rule absent cannot be loaded: No module named 'foreign_rules_missing'"),
    ],
)
def test_a_foreign_rule_that_does_not_load_is_refused_at_the_start(rule: str, message: str) -> None:
    with pytest.raises(RewardSetupError, match=message):
        RewardPool(Scoring(routes=parse_routes(rule)), num_workers=1)


def test_a_foreign_rule_may_not_take_a_built_in_name(foreign_package: Path) -> None:
    (foreign_package / "entry_points.txt").write_text("[lightrft.rewards]\nnumber = foreign_rules:length\n")
    with pytest.raises(RewardSetupError, match="offers a rule 'number', but a built-in rule has that name"):
        RewardPool(Scoring(routes=parse_routes("number")), num_workers=1)

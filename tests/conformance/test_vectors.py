"""The vectors other frameworks check themselves with: fresh, complete, and what core computes too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comparison import close, flat
from core_step import learn
from references.case import Case
from write_vectors import FOLDER, document

from lightrft_core import ALGORITHMS

pytestmark = pytest.mark.usefixtures("one_thread")

every_row = pytest.mark.parametrize("name", ALGORITHMS)


def stored(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_there_is_one_small_file_a_row() -> None:
    files = sorted(FOLDER.glob("*.json"))
    assert {file.stem for file in files} == ALGORITHMS.keys()
    assert sum(file.stat().st_size for file in files) < 400_000


@every_row
def test_a_file_holds_what_the_references_give(name: str) -> None:
    file, fresh = stored(name), document(name)
    assert file.keys() == fresh.keys()
    assert file["constants"] == fresh["constants"]
    assert [case["name"] for case in file["cases"]] == [case["name"] for case in fresh["cases"]]
    for old, new in zip(file["cases"], fresh["cases"], strict=True):
        assert old["input"] == new["input"]
        assert old["expected"].keys() == new["expected"].keys()
        for key, numbers in new["expected"].items():
            assert flat([old["expected"][key]]) == pytest.approx(flat([numbers]), rel=1e-12, abs=1e-13)


@every_row
def test_core_computes_what_a_file_expects(name: str) -> None:
    for case in stored(name)["cases"]:
        learnt = learn(Case.from_json(case["input"]), ALGORITHMS[name])
        for key, numbers in case["expected"].items():
            assert flat([getattr(learnt, key)]) == close([numbers]), f"{case['name']}: {key}"


@every_row
def test_the_cases_are_not_trivial(name: str) -> None:
    gradients = [flat(case["expected"]["gradient"]) for case in stored(name)["cases"]]
    assert all(any(gradient) for gradient in gradients)

"""Every test of the suite runs for every family, by default for some of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .families import CASES
from .subject import Subject

PARAMS = [pytest.param(case, id=case.name, marks=() if case.daily else pytest.mark.proof) for case in CASES]


@pytest.fixture(scope="session", params=PARAMS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """A family's tiny model."""
    pytest.importorskip(request.param.needs)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Subject(request.param, tmp_path_factory.mktemp("tiny"))
    torch.set_num_threads(threads)

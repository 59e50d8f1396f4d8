"""A packed row with several pictures cut into slices, one a rank: the loss and the gradient of one process."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest

from lightrft_multimodal.tiny import build_qwen2_5_vl

from ...strategy.training.processes import Processes
from .conftest import SIZES
from .sequence_runs import a_batch, length_of, passes

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def seer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny Qwen2.5-VL."""
    return str(build_qwen2_5_vl(tmp_path_factory.mktemp("seer"), SIZES))


@pytest.mark.parametrize(
    ("world", "sp_size", "ring"),
    [
        (2, 2, False),
        pytest.param(4, 2, False, marks=pytest.mark.proof),
        pytest.param(2, 2, True, marks=pytest.mark.proof),
        pytest.param(4, 4, True, marks=pytest.mark.proof),
    ],
)
def test_a_row_of_pictures_on_two_ranks_has_the_loss_and_the_gradients_of_one(
    processes: Callable[[int], Processes], seer: str, world: int, sp_size: int, ring: bool
) -> None:
    """Of the decoder and of the tower, which every rank runs and learns by its own slice alone."""
    assert length_of(a_batch(seer)) % 2
    expected = passes(seer, 0)
    learning = [name for name, gradient in expected.gradient.items() if numpy.linalg.norm(gradient) > 1e-6]
    assert any(".visual." in name for name in learning) and any(".language_model." in name for name in learning)
    for said in processes(world).run(passes, seer, sp_size, ring):
        assert said.loss == pytest.approx(expected.loss, rel=1e-9)
        numpy.testing.assert_allclose(said.logprobs, expected.logprobs, rtol=1e-9, atol=1e-9)
        numpy.testing.assert_allclose(said.entropy, expected.entropy, rtol=1e-9, atol=1e-9)
        assert said.gradient.keys() == expected.gradient.keys()
        for name, matrix in expected.gradient.items():
            missed = numpy.linalg.norm(said.gradient[name] - matrix)
            assert missed <= 1e-9 * (1e-3 + numpy.linalg.norm(matrix)), name

"""Which accelerators a child process may see."""

from __future__ import annotations

import pytest
import torch

from lightrft_strategy import devices


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with eight accelerators."""
    monkeypatch.setattr(devices, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("eight")
def test_a_child_sees_the_accelerators_it_is_given_among_those_we_see(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.only((2, 3)) == {"CUDA_VISIBLE_DEVICES": "2,3"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-6a,7")
    assert devices.only((1, 2)) == {"CUDA_VISIBLE_DEVICES": "GPU-6a,7"}
    with pytest.raises(ValueError, match="need 4 accelerators, and CUDA_VISIBLE_DEVICES shows 3"):
        devices.only((3,))
    assert devices.only(()) == {}


def test_on_the_cpu_there_is_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device", lambda: torch.device("cpu"))
    assert devices.only((0, 1)) == {}

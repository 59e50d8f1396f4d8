"""Where tensors live: the one place that knows which accelerator this machine has."""

from __future__ import annotations

import torch


def device() -> torch.device:
    """The current accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

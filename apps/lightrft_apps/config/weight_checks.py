"""Whether an average of weights can be kept, and experts be balanced, beside the other flags."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.effects import without_effect
from lightrft_apps.config.learning import LearningConfig


def weight_problems(config: LearningConfig) -> Iterator[str]:
    """What to change about the flags that average weights and balance experts."""
    train = config.train
    yield from without_effect(config, [(("ema_beta",), train.enable_ema, "set --enable_ema")])
    if train.aux_loss_coef > 0 and config.parallel.sp_size > 1:
        yield (
            f"--aux_loss_coef {train.aux_loss_coef:g} with --sp_size {config.parallel.sp_size}: a process sees the "
            "experts of its own slice of a row alone: leave --sp_size out, or set --aux_loss_coef to 0"
        )

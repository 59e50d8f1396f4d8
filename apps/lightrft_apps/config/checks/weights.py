"""Whether an average of weights can be kept, and experts be balanced, beside the other flags."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.checks.effects import without_effect
from lightrft_apps.config.checks.parallel import IN_SLICES
from lightrft_apps.config.learning import LearningConfig


def weight_problems(config: LearningConfig) -> Iterator[str]:
    """What to change about the flags that average weights and balance experts."""
    train = config.train
    yield from without_effect(config, [(("ema_beta",), train.enable_ema, "set --enable_ema")])
    for name in IN_SLICES:
        if train.aux_loss_coef > 0 and getattr(config.parallel, name) > 1:
            yield (
                f"--aux_loss_coef {train.aux_loss_coef:g} with --{name} {getattr(config.parallel, name)}: a process "
                f"sees the experts of its own slice of a row alone: leave --{name} out, or set --aux_loss_coef to 0"
            )

"""The kit is for users of any trainer, and its workers start fast: neither loads torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "lightrft_core", "lightrft_strategy", "math_verify", "reasoning_gym"}


@pytest.mark.parametrize(
    "imported", ["lightrft_rewards", "lightrft_rewards.worker", "lightrft_rewards.pool", "lightrft_rewards.journal"]
)
def test_importing_the_kit_loads_nothing_heavy(imported: str) -> None:
    program = f"import sys, {imported}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert imported in loaded
    assert HEAVY.isdisjoint(loaded)


def test_a_worker_that_judges_by_every_rule_loads_no_torch() -> None:
    program = """if True:
        import sys
        from lightrft_rewards import RULES
        for rule in RULES.values():
            rule.prepare()
        RULES["boxed"].score(r"\\\\boxed{4}", "4")
        print(*sys.modules)
    """
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "math_verify" in loaded
    assert "reasoning_gym" in loaded
    assert {"torch", "transformers", "lightrft_core"}.isdisjoint(loaded)


def test_a_missing_reasoning_gym_names_what_to_install() -> None:
    program = """if True:
        import sys
        sys.modules["reasoning_gym"] = None
        from lightrft_rewards import RewardSetupError, parse_routes
        from lightrft_rewards.rule_scoring import rule_scorer
        try:
            rule_scorer(parse_routes("reasoning_gym"))
        except RewardSetupError as error:
            print(error)
    """
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "pip install 'lightrft-rewards[reasoning-gym]'" in printed


def test_every_public_name_is_there() -> None:
    import lightrft_rewards

    assert all(name in vars(lightrft_rewards) for name in lightrft_rewards.__all__)

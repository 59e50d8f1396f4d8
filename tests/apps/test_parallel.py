"""What several processes do together, and what the flags about them may be."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from transformers import LlamaConfig

from lightrft_apps.commands import launch
from lightrft_apps.config import ConfigError, ParallelArgs, RLConfig, check
from lightrft_apps.models.parallel import by_the_first, hold_of
from lightrft_apps.models.slicing import require_sliceable_models
from lightrft_core import OneRank
from lightrft_strategy.training import Whole
from lightrft_strategy.training.fsdp2 import FullyShard
from lightrft_strategy.training.zero import Zero

HALF_AN_HOUR = timedelta(minutes=30)


class Rank(OneRank):
    """One of two ranks in threads."""

    world_size = 2

    def __init__(self, rank: int, met: Barrier, brought: list[list[Any]]) -> None:
        self.rank, self.met, self.brought = rank, met, brought

    def gather(self, items: Any) -> list[Any]:
        self.brought[self.rank] = list(items)
        self.met.wait()
        together = [*self.brought[0], *self.brought[1]]
        self.met.wait()
        return together


def on_two(action: Callable[[int], Any]) -> list[Any]:
    """What by_the_first gave or raised on each rank."""
    met, brought = Barrier(2, timeout=60), [[], []]

    def run(rank: int) -> Any:
        return by_the_first(Rank(rank, met, brought), lambda: action(rank))

    with ThreadPoolExecutor(2) as threads:
        outcomes = [threads.submit(run, rank) for rank in (0, 1)]
    return [outcome.exception() or outcome.result() for outcome in outcomes]


def test_what_the_first_does_all_have_and_nobody_else_does_it() -> None:
    did: list[int] = []
    assert on_two(lambda rank: did.append(rank) or "done") == ["done", "done"]
    assert did == [0]


def test_where_the_first_fails_the_others_end_without_a_word() -> None:
    def fail(rank: int) -> None:
        raise ValueError("no room")

    first, second = on_two(fail)
    assert isinstance(first, ValueError)
    assert isinstance(second, SystemExit) and second.code == 1


def test_one_process_alone_just_does_it() -> None:
    assert by_the_first(OneRank(), lambda: 5) == 5


BASE = {
    "pretrain": "smollm2",
    "prompt_data": "reasoning_gym:chain_sum",
    "rule_reward": "number",
    "output_dir": "runs/x",
}


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"fsdp": True, "zero_stage": 2}, "--fsdp and --zero_stage 2 are two ways of holding a model"),
        ({"fsdp_offload": True}, "--fsdp_offload has no effect: set --fsdp"),
        ({"fsdp_reshard": False}, "--no-fsdp_reshard has no effect: set --fsdp"),
        ({"adam_offload": True}, "--adam_offload has no effect: set --zero_stage"),
        ({"overlap_comm": True, "fsdp": True}, "--overlap_comm has no effect: set --zero_stage"),
        ({"ranks_timeout": 5.0}, "--ranks_timeout has no effect: start several processes by lightrft launch"),
        ({"ranks_timeout": 0.0}, "--ranks_timeout"),
        ({"stall_timeout": 0.0}, "--stall_timeout 0.0: set it to a number above 0"),
        ({"reward_timeout": 2000.0}, "--reward_timeout 2000: while a sample is judged for so long, the run"),
        ({"stall_timeout": 10.0}, "--reward_timeout 10: while a sample is judged for so long, the run"),
        ({"tp_size": 0}, "--tp_size 0: set it to 1 or more"),
        ({"tp_size": 2}, "--tp_size 2: slices of layers go with shards: add --fsdp or --zero_stage 1 or 2"),
        ({"tp_size": 2, "zero_stage": 3}, "--tp_size 2 with --zero_stage 3, whose shards are not cut into slices: set"),
        ({"tp_size": 2, "zero_stage": 1}, "--tp_size 2: 1 process cannot be cut into groups of 2: lightrft launch"),
        (
            {"tp_size": 2, "fsdp": True, "lora_rank": 4},
            "--tp_size 2 with --lora_rank 4: adapters stand on whole layers",
        ),
        ({"tp_size": 2, "fsdp": True, "compile": True}, "--compile with --tp_size 2, whose layers exchange sums"),
        ({"tp_size": 2, "fsdp": True}, "--tp_size 2: 1 process cannot be cut into groups of 2: lightrft launch"),
        (
            {"tp_size": 2, "fsdp": True, "sp_size": 3, "packing_samples": True},
            "--tp_size 2 x --sp_size 3: 1 process cannot be cut into groups of 6: lightrft launch",
        ),
        ({"sp_size": 0}, "--sp_size 0: set it to 1 or more"),
        ({"sp_size": 2}, "--sp_size 2: only packed rows are cut into slices: add --packing_samples"),
        (
            {"sp_size": 2, "packing_samples": True},
            "--sp_size 2: 1 process cannot be cut into groups of 2: lightrft launch",
        ),
        ({"ring_attn_size": 0}, "--ring_attn_size 0: set it to 1 or more"),
        ({"ring_attn_size": 2}, "--ring_attn_size 2: only packed rows are cut into slices: add --packing_samples"),
        (
            {"ring_attn_size": 2, "packing_samples": True},
            "--ring_attn_size 2: 1 process cannot be cut into groups of 2: lightrft launch",
        ),
        (
            {"sp_size": 2, "ring_attn_size": 4, "packing_samples": True},
            "--sp_size 2 with --ring_attn_size 4 are two ways of cutting a row into slices: leave one of them out",
        ),
    ],
)
def test_flags_that_do_not_fit_are_told_before_anything_loads(flags: dict[str, Any], complaint: str) -> None:
    assert any(complaint in problem for problem in check(RLConfig.create(**BASE, **flags)))


def test_an_engine_inside_one_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RLConfig.create(**BASE, engine_type="vllm")
    assert not any("--engine_server" in problem for problem in check(config))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert any("inside one of 2 processes" in problem for problem in check(config))
    served = RLConfig.create(**BASE, engine_type="vllm", engine_server=True)
    assert not any("inside one of 2 processes" in problem for problem in check(served))


def test_processes_that_no_group_is_left_over_of_may_share_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for flag in ("sp_size", "ring_attn_size"):
        config = RLConfig.create(**BASE, **{flag: 2}, packing_samples=True)
        for world_size, problem in ((2, False), (3, True), (6, False)):
            monkeypatch.setenv("WORLD_SIZE", str(world_size))
            assert any(f"--{flag}" in each for each in check(config)) == problem


def test_models_that_processes_cannot_share_are_told_from_their_configuration_before_anything_loads(
    tmp_path: Path,
) -> None:
    LlamaConfig(hidden_size=36, num_attention_heads=3, num_key_value_heads=3).save_pretrained(tmp_path / "odd")
    LlamaConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=2).save_pretrained(tmp_path / "even")
    flags = BASE | {"pretrain": str(tmp_path / "even"), "critic_pretrain": str(tmp_path / "odd"), "fsdp": True}
    with pytest.raises(ConfigError) as refused:
        require_sliceable_models(RLConfig.create(**flags, tp_size=2))
    start = f"--critic_pretrain {tmp_path / 'odd'} with --tp_size 2: a model of the type llama has 3 attention heads"
    assert [problem.startswith(start) for problem in refused.value.problems] == [True]
    require_sliceable_models(RLConfig.create(**flags))
    require_sliceable_models(RLConfig.create(**flags | {"critic_pretrain": flags["pretrain"]}, tp_size=2))


def test_deepspeed_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightrft_apps.config.checks.parallel.find_spec", lambda name: None)
    problems = check(RLConfig.create(**BASE, zero_stage=2))
    assert "--zero_stage 2: the package deepspeed is not installed: uv sync --extra deepspeed" in problems


@pytest.mark.parametrize(
    ("flags", "hold"),
    [
        ({}, Whole),
        ({"fsdp": True}, FullyShard(timeout=HALF_AN_HOUR)),
        ({"fsdp": True, "fsdp_offload": True}, FullyShard(cpu_offload=True, timeout=HALF_AN_HOUR)),
        ({"fsdp": True, "fsdp_reshard": False}, FullyShard(reshard_after_forward=False, timeout=HALF_AN_HOUR)),
        ({"fsdp": True, "tp_size": 2}, FullyShard(tp_size=2, timeout=HALF_AN_HOUR)),
        ({"fsdp": True, "ranks_timeout": 60.0}, FullyShard(timeout=timedelta(minutes=1))),
        ({"zero_stage": 1}, Zero(stage=1, timeout=HALF_AN_HOUR)),
        ({"zero_stage": 3, "adam_offload": True}, Zero(stage=3, adam_offload=True, timeout=HALF_AN_HOUR)),
        ({"zero_stage": 2, "overlap_comm": True}, Zero(stage=2, overlap_comm=True, timeout=HALF_AN_HOUR)),
        ({"zero_stage": 2, "tp_size": 4}, Zero(stage=2, tp_size=4, timeout=HALF_AN_HOUR)),
    ],
)
def test_the_flags_say_how_models_are_held(flags: dict[str, Any], hold: object) -> None:
    assert hold_of(ParallelArgs(**flags)) == hold


def test_launch_wants_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        launch.main(["--nproc_per_node", "2"])
    assert "say which command to run" in capsys.readouterr().err


def test_launch_gives_the_command_to_torchrun_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("torch.distributed.run.main", given.append)
    launch.main(["--nproc_per_node", "2", "--max_restarts=3", "rl", "--config", "run.yaml", "--fsdp"])
    (words,) = given
    assert words[words.index("--nproc-per-node") + 1] == "2"
    assert words[words.index("--max-restarts") + 1] == "3"
    assert words[words.index("-m") :] == ["-m", "lightrft_apps", "rl", "--config", "run.yaml", "--fsdp"]

"""Whole runs with vLLM sampling: they learn, every hand-over has a receipt, a killed engine costs only time."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

if find_spec("vllm") is None:
    pytest.skip("vLLM is one of the extras", allow_module_level=True)

ENGINE = {"engine_type": "vllm", "enforce_eager": True, "max_num_seqs": 64}


@pytest.fixture
def train(tmp_path: Path, prompts: str, sevens: str, tiny_folder: Path, tiny_model: Callable[..., Any]) -> Any:
    """train(name, **flags) -> the metrics lines of a run of a model whose heads vLLM's attention on the CPU accepts."""
    import shutil

    from lightrft_apps import RLConfig, train

    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    shape = {"hidden_size": 256, "num_attention_heads": 4, "initializer_range": 0.05}
    tiny_model(vocab_size=18, eos_token_id=0, **shape).save_pretrained(folder)
    usual = {"rollout_batch_size": 8, "n_samples_per_prompt": 8, "generate_max_len": 8, "reward_workers": 1}
    usual |= {"actor_learning_rate": 0.001, "lr_warmup_ratio": 0.0, "num_episodes": 100, "pretrain": str(folder)}

    def run(name: str, **flags: Any) -> list[dict[str, Any]]:
        places = {"prompt_data": prompts, "reward_fn": sevens, "output_dir": str(tmp_path / name)}
        train(RLConfig.create(**usual | ENGINE | places | flags))
        return list(map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines()))

    return run


def test_it_learns_and_every_hand_over_has_its_receipt(train: Any) -> None:
    lines = train("run", max_steps=10)
    rewards = [line["reward/mean"] for line in lines]
    assert sum(rewards[-2:]) / 2 > sum(rewards[:2]) / 2 + 0.35
    assert [line["sync/version"] for line in lines] == list(range(1, 11))
    assert all(line["sync/probe_gap_max"] < 1e-4 for line in lines)
    assert all(line["sync/probe_moved"] > 0 for line in lines)
    assert all(line["engine/logprob_gap_max"] < 1e-3 for line in lines)
    assert all({"memory/optimise_before_gib", "memory/engine_freed_gib"} <= line.keys() for line in lines)


@pytest.mark.proof
def test_an_engine_killed_in_the_middle_of_a_run_is_started_again_and_nothing_is_lost(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightrft_strategy.engines.vllm.server import VllmServer

    calls = Counter[str]()
    complete = VllmServer.complete

    def killed_once(self: VllmServer, requests: Any, done: Any) -> None:
        calls["complete"] += 1

        def killing(index: int, answer: Any) -> None:
            done(index, answer)
            calls["answers"] += 1
            if calls["complete"] == 2 and not calls["kills"]:
                calls["kills"] += 1
                assert self.process is not None
                os.killpg(self.process.pid, signal.SIGKILL)

        complete(self, requests, killing)

    monkeypatch.setattr(VllmServer, "complete", killed_once)
    lines = train("run", engine_server=True, max_steps=3)
    assert (calls["kills"], calls["complete"], calls["answers"]) == (1, 4, 3 * 64)
    seen = [(line["step"], line["sync/version"], line["sync/restarts"]) for line in lines]
    assert seen == [(1, 1, 0), (2, 2, 1), (3, 3, 1)]
    for path in (tmp_path / "run" / "trajectories").iterdir():
        rows = pq.read_table(path).to_pylist()
        assert len(rows) == len({(row["prompt_uid"], row["sample"]) for row in rows}) == 64

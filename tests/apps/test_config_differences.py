"""Which changes make a run another run, so that it may not be resumed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.config import RLConfig, differences, too_late
from lightrft_apps.config.differences import FREE_ON_RESUME


def flat(**changes: Any) -> dict[str, Any]:
    return RLConfig.create(**{"pretrain": "model", "prompt_data": "prompts", "output_dir": "run"} | changes).to_flat()


def test_the_same_configuration_has_no_differences() -> None:
    assert differences(flat(), flat()) == {}


def test_each_difference_is_told_with_both_values() -> None:
    assert differences(flat(seed=1), flat(seed=2, max_steps=5)) == {"seed": (1, 2), "max_steps": (None, 5)}


def test_what_touches_no_number_may_change() -> None:
    assert differences(flat(), flat(progress=False, save_steps=3, max_ckpt_num=9, reward_workers=1)) == {}
    assert differences(flat(), flat(compile=True, profile_steps="1", placement="colocate")) == {}


def test_the_manual_lists_what_may_change() -> None:
    page = (Path(__file__).parents[2] / "docs" / "source" / "best_practice" / "checkpoints.md").read_text()
    (listed,) = re.findall(r"touch no\s+number(.*?)\.\s", page, re.DOTALL)
    assert set(re.findall(r"`--(\w+)`", listed)) == FREE_ON_RESUME


def test_a_finished_run_is_told_which_new_flags_come_too_late() -> None:
    old, new = flat(profile_steps="1"), flat(profile_steps="2", save_hf_ckpt=True, save_steps=3)
    exported, profiled = too_late(old, new, Path("runs/first"))
    assert "--save_hf_ckpt does nothing: lightrft export runs/first OUTPUT" in exported
    assert "--profile_steps does nothing" in profiled
    assert too_late(new, new, Path("runs/first")) == too_late(new, flat(), Path("runs/first")) == []


def test_servers_may_have_moved() -> None:
    moved = flat(engine_url="http://elsewhere:1", engine_timeout=9.0, disable_engine_sleep=True)
    assert differences(flat(engine_url="http://here:1"), moved) == {}
    assert differences(flat(), flat(engine_type="vllm")) == {"engine_type": ("embedded", "vllm")}


def test_a_folder_spelled_in_another_way_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    for spelling in (str(tmp_path / "runs"), "./runs/", "runs/../runs", "link"):
        assert differences(flat(output_dir="runs"), flat(output_dir=spelling)) == {}
    assert list(differences(flat(output_dir="runs"), flat(output_dir="other"))) == ["output_dir"]


def test_a_kept_configuration_equals_the_one_it_was_made_from(tmp_path: Path) -> None:
    config = RLConfig.create(**flat(adam_betas=(0.8, 0.9), actor_learning_rate=3e-7, reward_routes={"a": "number:1.0"}))
    config.save(tmp_path / "config.yaml", {"revision": "abc"})
    assert differences(RLConfig.from_file(tmp_path / "config.yaml").to_flat(), config.to_flat()) == {}


def test_lists_as_yaml_gives_them_equal_tuples_and_absent_values_equal_none() -> None:
    old = flat() | {"adam_betas": [0.9, 0.95]}
    del old["max_samples"]
    assert differences(old, flat()) == {}

"""What --reward_pretrain names, wherever it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightrft_apps.config import ConfigError, JudgesArgs, reward_models
from lightrft_apps.config.named_models import named_models


def test_models_are_called_by_their_names_the_only_one_rm_and_others_by_what_tells_their_folders_apart(
    tmp_path: Path,
) -> None:
    assert named_models("runs/a/final") == {"rm": "runs/a/final"}
    assert [*named_models("runs/a/final,runs/b/final")] == ["a/final", "b/final"]
    assert named_models("new=runs/a/final, org/model") == {"new": "runs/a/final", "model": "org/model"}
    assert named_models("new=runs/a=b/final") == {"new": "runs/a=b/final"}
    (tmp_path / "a=1,b").mkdir()
    assert named_models(str(tmp_path / "a=1,b")) == {"rm": str(tmp_path / "a=1,b")}


@pytest.mark.parametrize("given", ["a=x,a=y", "=x", "a=", "x,,y", "x,x", ""])
def test_models_that_cannot_be_told_apart_are_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="--reward_pretrain"):
        named_models(given)


def test_what_judges_a_run_has_names_that_a_sum_of_rewards_can_have() -> None:
    assert reward_models(JudgesArgs(reward_pretrain="M")) == {"rm": "M"}
    assert reward_models(JudgesArgs(reward_pretrain="runs/safe, b=Y")) == {"safe": "runs/safe", "b": "Y"}
    for given in ("runs/a/final,runs/b/final", "rules=X", "remote=X,b=Y"):
        with pytest.raises(ConfigError, match="each with a name of letters"):
            reward_models(JudgesArgs(reward_pretrain=given))

"""A judge that writes through vLLM says what it says through the embedded engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.config import JudgesArgs, RewardArgs
from lightrft_apps.rewards.judging import build_scorer
from lightrft_rewards import Sample
from lightrft_rewards.models.judges import JudgeForm

if find_spec("vllm") is None:
    pytest.skip("vLLM is one of the extras", allow_module_level=True)


@pytest.mark.proof
def test_judgements_through_vllm_are_those_of_the_embedded_engine(
    tiny_folder: Path, tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "judge")
    shape = {"hidden_size": 256, "num_attention_heads": 4, "initializer_range": 0.12, "max_position_embeddings": 1024}
    tiny_model(5, vocab_size=18, eos_token_id=0, **shape).save_pretrained(folder)
    form = JudgeForm(kind="pointwise", lowest=0, highest=9, apply_chat_template=False, generate_max_len=6)
    form.write(folder)
    samples = [Sample(text, prompt="2+2=", name=text) for text in ("4", "5", "2+2", "44=4", "-1")]
    said = []
    for engine in (False, True):
        scorer = build_scorer(RewardArgs(), JudgesArgs(reward_pretrain=str(folder), rm_use_engine=engine))
        [outcomes] = scorer.score([samples])
        inner = scorer.scorers["rm"]  # type: ignore[attr-defined]
        drawn = inner.engine.generate([inner._prompt([sample]) for sample in samples], inner.sampling, step=0)
        said.append(([group.rollouts[0].token_ids for group in drawn], [outcome.score for outcome in outcomes]))
        scorer.close()
    assert said[0] == said[1]
    assert len({tuple(ids) for ids in said[0][0]}) > 1, "a judge that always says the same shows nothing"

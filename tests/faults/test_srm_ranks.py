"""The training of a reward model by two processes: the numbers of one, and a model that anyone loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from .test_ranks import CLOSE, launched, metrics
from .test_srm_resume import judge, words

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

Launch = Callable[..., int]

HOLDINGS = {
    "whole": [],
    "fsdp": ["--fsdp"],
    "fsdp kept": ["--fsdp", "--no-fsdp_reshard"],
    "zero 1": ["--zero_stage=1"],
    "zero 2": ["--zero_stage=2"],
    "zero 3": ["--zero_stage=3"],
}
VARIANTS = {
    "plain": [],
    "average": ["--enable_ema", "--ema_beta=0.5"],
    "adapter": ["--lora_rank=4"],
    "attention": ["--pooling_method=attn", "--probing_layer=1", "--loss_type=uncertainty"],
}

__all__ = ["judge"]


@pytest.fixture(scope="module")
def alone(judge: Path, launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """alone(variant) -> the run of one process."""
    made: dict[str, Path] = {}

    def run(variant: str) -> Path:
        if variant not in made:
            folder = tmp_path_factory.mktemp("alone") / "run"
            assert launch(words(judge, folder, "--save_hf_ckpt", *VARIANTS[variant])) == 0
            made[variant] = folder
        return made[variant]

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", HOLDINGS)
def test_two_processes_do_the_run_of_one_and_write_its_model(
    judge: Path, alone: Callable[[str], Path], launch: Launch, tmp_path: Path, name: str, variant: str
) -> None:
    from lightrft_rewards.models.loading import load_reward_model

    run, expected = tmp_path / "run", alone(variant)
    with launched(words(judge, run, "--save_hf_ckpt", *HOLDINGS[name], *VARIANTS[variant])) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert output.count("step    8") == 1, "the first process alone talks"
    mine, theirs = metrics(run), metrics(expected)
    assert [line.keys() for line in mine] == [line.keys() for line in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one == pytest.approx(other, **CLOSE)
    folders = ["final", *(["final_ema"] if variant == "average" else [])]
    for folder in folders:
        assert same_weights(run / folder, expected / folder)
    assert contents(run / "checkpoints" / "step_8" / "huggingface") == contents(run / "final")
    assert launch(["export", str(run), str(tmp_path / "exported")]) == 0
    assert contents(tmp_path / "exported") == contents(run / "final")
    loaded = load_reward_model(run / "final")
    assert loaded.card.means.keys() == {"score"}
    if variant != "attention":
        loads_as_a_classifier(run / "final")


def same_weights(one: Path, other: Path) -> bool:
    """Whether the folders hold the same weights, but for rounding."""
    files = [path.name for path in sorted(other.glob("*.safetensors"))]
    assert files == [path.name for path in sorted(one.glob("*.safetensors"))]
    for file in files:
        mine, theirs = load_file(one / file), load_file(other / file)
        assert mine.keys() == theirs.keys()
        for key, tensor in theirs.items():
            torch.testing.assert_close(mine[key], tensor, rtol=1e-2, atol=2e-3)
    return bool(files)


def loads_as_a_classifier(folder: Path) -> None:
    """Transformers gives the scores that we give."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from lightrft_rewards.models.batches import collate_contests
    from lightrft_rewards.models.loading import load_reward_model
    from lightrft_rewards.models.passage import Contest, Passage

    loaded: Any = load_reward_model(folder)
    texts = ["1+1=2<end>", "3+3=3<end>"]
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    passages = tuple(Passage(tuple(loaded.tokenizer(text)["input_ids"])) for text in texts)
    with torch.no_grad():
        ours = loaded.model(collate_contests([Contest("", passages, {})], ["score"])).means
        theirs = AutoModelForSequenceClassification.from_pretrained(folder)(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)

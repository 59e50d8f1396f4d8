"""Models built without memory and filled shard by shard are the ones that are loaded the ordinary way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from lightrft_strategy.language import LanguageActor, LanguageCritic, check_head, load_language_model
from lightrft_strategy.training import FullyShard, OptimiserConfig, TorchRanks, TorchStrategy
from lightrft_strategy.training.meta import empty_language_model, load_shards

from .recorded import a_batch, language_model, plain_loss, weights

CONFIG = OptimiserConfig(1e-2, 10)
LONG_ROPE = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0}
ROPE: dict[str, Any] = LONG_ROPE | {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tied": ("Llama", {}),
    "untied, long rope": ("Llama", {"tie_word_embeddings": False, "rope_parameters": ROPE}),
    "Qwen3": ("Qwen3", {}),
    "Gemma": ("Gemma", {}),
}


def trained(folder: Path, hold: FullyShard, meta: bool) -> tuple[list[float], dict[str, numpy.ndarray], bool]:
    """Log-probabilities before a step and weights after it; whether any rank ever held a whole matrix meanwhile."""
    model = empty_language_model(folder) if meta else load_language_model(folder)
    strategy = TorchStrategy({"policy": LanguageActor(model)}, {"policy": CONFIG}, hold=hold, ranks=TorchRanks())
    if meta:
        rows = {len(m) for m in strategy.held["policy"].masters.values()}
        load_shards(model, folder)
        strategy.held["policy"].gathered(lambda: check_head(model))
    else:
        rows = set()
    logprobs = strategy.forward("policy", [a_batch(1)])[0].logprobs.tolist()
    strategy.train_step("policy", [a_batch(strategy.rank)], plain_loss)
    return logprobs, weights(strategy), max(rows, default=0) > 32


@pytest.mark.parametrize("name", MODELS)
def test_a_model_filled_shard_by_shard_is_the_one_loaded_whole(processes, tmp_path: Path, name: str) -> None:
    family, changes = MODELS[name]
    language_model(family, **changes).save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ordinary = processes(2).run(trained, tmp_path, FullyShard(), False)
    for hold in (FullyShard(), FullyShard(cpu_offload=True)):
        for mine, theirs in zip(processes(2).run(trained, tmp_path, hold, True), ordinary, strict=True):
            assert mine[0] == theirs[0], "the same bits"
            assert all(numpy.array_equal(mine[1][name], theirs[1][name]) for name in theirs[1])
            assert not mine[2], "no rank has more than its share of the 61 rows of the vocabulary"


def values(folder: Path, meta: bool) -> list[float]:
    model = empty_language_model(folder) if meta else load_language_model(folder)
    critic = LanguageCritic(model)
    torch.nn.init.ones_(critic.value_head.weight)
    strategy = TorchStrategy({"critic": critic}, {}, hold=FullyShard(), ranks=TorchRanks())
    if meta:
        load_shards(critic.model, folder)
    return strategy.forward("critic", [a_batch(1)])[0].values.tolist()


def test_a_critic_is_filled_from_the_weights_of_a_language_model_and_keeps_its_own_head(processes, tmp_path) -> None:
    language_model().save_pretrained(tmp_path)
    ordinary = processes(2).run(values, tmp_path, False)
    assert processes(2).run(values, tmp_path, True) == ordinary
    assert max(map(abs, ordinary[0])) > 0


def test_what_was_not_filled_is_not_a_number(processes, tmp_path: Path) -> None:
    language_model().save_pretrained(tmp_path)
    assert processes(2).run(unfilled, tmp_path) == [True, True]


def unfilled(folder: Path) -> bool:
    model = empty_language_model(folder)
    strategy = TorchStrategy({"policy": LanguageActor(model)}, {}, hold=FullyShard(), ranks=TorchRanks())
    return bool(strategy.forward("policy", [a_batch(1)])[0].logprobs.isnan().all())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda weights: weights.pop("model.norm.weight"), "has no weight for model.norm.weight, whose shape is .32"),
        (
            lambda weights: weights.update({"model.norm.weight": torch.ones(31)}),
            "has the shape .31. for model.norm",
        ),
    ],
)
def test_a_folder_of_another_model_is_refused_and_changes_nothing(tmp_path: Path, damage: Any, message: str) -> None:
    language_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    damage(weights)
    save_file(weights, tmp_path / "model.safetensors")
    model = language_model(seed=5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_shards(model, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

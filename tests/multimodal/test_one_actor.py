"""A model that sees or hears is adapted, frozen, checkpointed, paced and valued as a model of text is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightrft_apps.models.senses import Senses
from lightrft_core import Batch, Metrics, TrainingSequence, collate
from lightrft_multimodal.adapters import MediaAdapter, load_adapter
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni, build_qwen2_5_vl
from lightrft_strategy.freezing import freeze
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.lora import AdapterOff, add_adapter
from lightrft_strategy.reading import Reader
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

from .conformance.prompts import Clip, Picture, Sound, asked
from .tiny import llava

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = Sizes(
    hidden_size=32,
    intermediate_size=40,
    num_attention_heads=2,
    num_key_value_heads=1,
    tower_size=16,
    initializer_range=0.2,
    max_pixels=24 * 24,
    max_seconds=2,
)
QUESTIONS = {
    "qwen2_5_vl": (asked("What?"), asked(Picture(1, 20, 15), "and", Picture(2, 9, 9)), asked(Clip(3, 4, 16, 12))),
    "qwen2_5_omni": (asked("What?"), asked(Picture(1, 20, 15), "and", Sound(2, 6000)), asked(Clip(3, 4, 16, 12))),
    "llava_next": (asked("What?"), asked(Picture(1, 40, 15), "and", Picture(2, 9, 9))),
}
BUILDERS: dict[str, Callable[[Path], Path]] = {
    "qwen2_5_vl": lambda folder: build_qwen2_5_vl(folder, SIZES),
    "qwen2_5_omni": lambda folder: build_qwen2_5_omni(folder, SIZES),
    "llava_next": llava.build_next,
}


class Seer:
    """A family's tiny model, and answers to questions about media."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, BUILDERS[name](folder)
        adapter = load_adapter(self.folder)
        assert adapter is not None
        self.adapter: MediaAdapter = adapter
        self.reader = Reader(adapter)
        self.towers = tuple(name for names in adapter.towers.values() for name in names)

    def model(self) -> Any:
        return self.adapter.load_model(self.folder).double()

    def batch(self, questions: Sequence[int] | None = None) -> Batch:
        """Two answers to each question."""
        sequences = []
        for number, told in enumerate(QUESTIONS[self.name]):
            if questions is None or number in questions:
                ids = self.adapter.encode(told.messages, told.media)[1]
                for answer, advantage in ([65, 66, 67], 1.0), ([70, 71], -0.5):
                    numbers = torch.full((len(answer),), advantage)
                    mask = [True] * len(answer)
                    sequences.append(TrainingSequence(ids, answer, mask, 0.1, numbers, -numbers, media=told.media))
        return collate(sequences)

    def of_tower(self, name: str) -> bool:
        """Whether a weight of the whole model belongs to a tower."""
        return any(name == tower or name.startswith(f"{tower}.") for tower in self.towers)


@pytest.fixture(scope="module", params=list(BUILDERS))
def seer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seer:
    return _seer(request.param, tmp_path_factory.mktemp("seer"))


@cache
def _seer(name: str, folder: Path) -> Seer:
    return Seer(name, folder)


def objective(output: Any, batch: Batch) -> tuple[Tensor, Metrics]:
    return -(batch.weights * batch.advantages * output.logprobs).sum(), Metrics()


def stepped(actor: Any, batch: Batch, **config: Any) -> dict[str, float]:
    """How far one AdamW step takes each weight at most."""
    strategy = TorchStrategy(
        {"policy": actor}, {"policy": OptimiserConfig(**{"learning_rate": 1e-3} | config, total_steps=9)}
    )
    before = {name: weight.detach().clone() for name, weight in actor.named_parameters()}
    assert strategy.train_step("policy", [batch], objective).fault == ""
    return {name: float((weight.detach() - before[name]).abs().max()) for name, weight in actor.named_parameters()}


def test_towers_learn_at_their_own_rate_and_nothing_else_does(seer: Seer) -> None:
    actor = LanguageActor(seer.model(), reader=seer.reader)
    factors = Senses(seer.adapter.tokenizer, seer.adapter).factors(1e-3, 1e-4)
    moved = stepped(actor, seer.batch(), factors=factors)
    for name, far in moved.items():
        rate = 1e-4 if seer.of_tower(name.removeprefix("model.")) else 1e-3
        assert far <= 1.001 * rate, name
    fast = [name for name, far in moved.items() if far > 0.9e-3]
    slow = [name for name, far in moved.items() if 0.9e-4 < far <= 1.001e-4]
    assert fast and not any(seer.of_tower(name.removeprefix("model.")) for name in fast)
    for tower in seer.towers:
        assert any(f"{name}.".startswith(f"model.{tower}.") for name in slow), tower


def test_a_frozen_tower_stays_and_the_rest_learns(seer: Seer) -> None:
    model = seer.model()
    freeze(model, seer.towers)
    moved = stepped(LanguageActor(model, reader=seer.reader), seer.batch())
    for name, far in moved.items():
        if seer.of_tower(name.removeprefix("model.")):
            assert far == 0, name
    assert moved["model." + _name_of(model, model.get_input_embeddings())] > 0


def test_an_adapter_begins_as_nothing_learns_in_towers_too_and_can_be_left_out(seer: Seer) -> None:
    model, batch = seer.model(), seer.batch()
    plain = LanguageActor(model, reader=seer.reader)
    before = plain(batch).logprobs.detach()
    add_adapter(model, rank=2, alpha=4)
    actor = LanguageActor(model.double(), reader=seer.reader)
    torch.testing.assert_close(actor(batch).logprobs, before, rtol=0, atol=1e-12)
    moved = stepped(actor, batch)
    assert {name for name, far in moved.items() if far} <= {name for name in moved if ".lora_" in name}
    for tower in seer.towers:
        if tower.rpartition(".")[2] != "image_newline":
            assert any(far > 0 for name, far in moved.items() if name.startswith(f"model.{tower}.")), tower
    with torch.no_grad():
        assert (actor(batch).logprobs - before).abs().max() > 1e-4
        torch.testing.assert_close(AdapterOff(actor)(batch).logprobs, before, rtol=0, atol=1e-12)


def test_checkpointing_computes_the_same_gradients(seer: Seer) -> None:
    batch, gradients = seer.batch(), []
    for checkpointing in (False, True):
        model = seer.model()
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.train()
        objective(LanguageActor(model, reader=seer.reader)(batch), batch)[0].backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    plain, again = gradients
    assert plain.keys() == again.keys() and any(map(seer.of_tower, plain))
    for name, gradient in plain.items():
        assert (again[name] - gradient).norm() <= 1e-6 * gradient.norm() + 1e-12, name


def test_a_critic_values_what_the_models_own_head_would_read(seer: Seer) -> None:
    model, read = seer.model(), []
    question = QUESTIONS[seer.name][1]
    ids = seer.adapter.encode(question.messages, question.media)[1]
    inputs = seer.adapter.inputs(question.media)
    whole = torch.tensor([[*ids, 65, 66, 67]])
    kinds = _kinds(seer, whole)
    model.get_output_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0].detach()))
    with torch.no_grad():
        model(input_ids=whole, attention_mask=torch.ones_like(whole), **inputs, **kinds)
    critic = LanguageCritic(model, reader=seer.reader).double()
    batch = seer.batch([1])
    assert not critic(batch).values.any()
    torch.nn.init.normal_(critic.value_head.weight)
    values = critic(batch).values
    expected = read[0][0, -4:-1].float() @ critic.value_head.weight[0].float()
    torch.testing.assert_close(values[:3], expected, rtol=1e-4, atol=1e-4)
    values.square().sum().backward()
    for tower in seer.towers:
        last = tower.removeprefix("model.")
        assert any(
            f"{name}.".startswith((f"model.{tower}.", f"model.{last}."))
            and weight.grad is not None
            and weight.grad.any()
            for name, weight in critic.named_parameters()
        ), tower


def _kinds(seer: Seer, ids: Tensor) -> dict[str, Tensor]:
    """What Qwen2.5-VL wants to be told beside the ids."""
    if seer.name != "qwen2_5_vl":
        return {}
    return {"mm_token_type_ids": (ids == seer.adapter.kinds["image"]).long()}


def _name_of(model: Any, module: Any) -> str:
    return next(f"{name}.weight" for name, each in model.named_modules() if each is module)

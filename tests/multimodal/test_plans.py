"""Plans of models that see and hear, by a config alone, against the bytes and operations of real tiny ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from lightrft_core import Batch, Media, Metrics, Prompt
from lightrft_core.batching import TrainingSequence, collate
from lightrft_multimodal.adapters import MediaAdapter, family_of, load_adapter
from lightrft_multimodal.adapters.outlines import OutlineAdapter
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni, build_qwen2_5_vl, build_qwen2_audio
from lightrft_strategy.freezing import freeze
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.planning import Engine, Holding, Job, Subject, Workload, plan_memory
from lightrft_strategy.planning.counting import BACKWARD_ATTENTION, Alive
from lightrft_strategy.reading import Reader
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

from ..saved import saved_bytes, storages
from .conformance.prompts import Clip, Picture, Sound, asked
from .tiny import gemma3, internvl, llava
from .tiny.qwen import build_qwen2_vl, build_qwen3_vl

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = Sizes(tower_layers=3, tower_size=64, num_hidden_layers=3, max_seconds=4)
ADAM = OptimiserConfig(learning_rate=1e-3, total_steps=3)
ANSWERS, ANSWER = 3, 31


@dataclass(frozen=True)
class Case:
    """A family and what two of its prompts show and play. daily: tested by default; else with -m proof."""

    build: Callable[[Path], Path]
    prompts: tuple[tuple[Media, ...], ...]
    daily: bool = False


IMAGES = ((Picture(1, 48, 48), Picture(2, 40, 40)), (Picture(3, 48, 48), Picture(4, 40, 40)))
CLIPS = ((Clip(5, 2, 32, 24),), (Clip(6, 2, 32, 24),))
SOUNDS = ((Sound(7, 39_680),), (Sound(8, 39_680),))
CASES = {
    "qwen2_vl": Case(partial(build_qwen2_vl, sizes=SIZES), IMAGES),
    "qwen2_5_vl": Case(partial(build_qwen2_5_vl, sizes=SIZES), IMAGES, daily=True),
    "qwen2_5_vl with clips": Case(partial(build_qwen2_5_vl, sizes=SIZES), CLIPS),
    "qwen3_vl": Case(partial(build_qwen3_vl, sizes=SIZES), IMAGES, daily=True),
    "qwen2_audio": Case(partial(build_qwen2_audio, sizes=SIZES), SOUNDS, daily=True),
    "qwen2_5_omni": Case(
        partial(build_qwen2_5_omni, sizes=SIZES), ((IMAGES[0][0], SOUNDS[0][0]), (IMAGES[1][0], SOUNDS[1][0]))
    ),
    "internvl": Case(internvl.build, IMAGES),
    "llava": Case(llava.build, IMAGES),
    "gemma3": Case(gemma3.build, IMAGES),
}


class Seer:
    """A real tiny model with a batch of two prompts of one length, and the same by its config alone."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.folder = case.build(folder)
        adapter = load_adapter(self.folder)
        assert adapter is not None
        self.adapter: MediaAdapter = adapter
        encoded = [(adapter.encode(told.messages, told.media)[1], told.media) for told in map(_told, case.prompts)]
        self.ids = [ids for ids, _ in encoded]
        self.media = [media for _, media in encoded]
        assert len(set(map(len, self.ids))) == 1, "prompts of one length"
        for media in self.media:
            adapter.inputs(media)

    @property
    def length(self) -> int:
        return len(self.ids[0])

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """Modality and tokens of each medium of a prompt."""
        sizes = []
        for medium in self.media[0]:
            ids = self.adapter.encode(*_one(medium))[1]
            kind = self.adapter.kinds[medium.modality]
            sizes.append((medium.modality, sum(token == kind for token in ids)))
        return sizes

    def model(self, changes: Callable[[Any], Any] = lambda model: model) -> Any:
        return changes(self.adapter.load_model(self.folder))

    @property
    def reader(self) -> Reader:
        return Reader(self.adapter)

    def batch(self) -> Batch:
        numbers = torch.zeros(ANSWER, dtype=torch.float64)
        return collate(
            [
                TrainingSequence(
                    ids, [65 + i % 7 for i in range(ANSWER)], [True] * ANSWER, 1.0, numbers, numbers, media=media
                )
                for ids, media in zip(self.ids, self.media, strict=True)
                for _ in range(ANSWERS)
            ]
        )

    def planned(
        self,
        dtype: torch.dtype = torch.float32,
        changes: Callable[[Any], Any] = lambda model: model,
        kind: Any = LanguageActor,
        every_tower: bool = False,
    ) -> Subject:
        config = AutoConfig.from_pretrained(self.folder)
        family = family_of(config.model_type)
        assert family is not None
        adapter = OutlineAdapter(family, config)
        placeholders = [adapter.kinds[modality] for modality, tokens in self.sizes for _ in range(tokens)]
        ids = (*placeholders, *[65] * (self.length - len(placeholders)))

        def prompt_of(number: int) -> Prompt:
            return Prompt(f"{number}", (), "", ids, media=adapter.outlined(number, self.sizes))

        model = changes(adapter.empty_model())
        return Subject(kind(model, reader=Reader(adapter, every_tower=every_tower)), dtype, prompt_of=prompt_of)

    @property
    def tokens(self) -> int:
        """Of the batch as one row, each prompt once, no answer's last token."""
        return 2 * (self.length + ANSWERS * (ANSWER - 1))

    @property
    def scored(self) -> int:
        return 2 * ANSWERS * ANSWER


def _told(media: Sequence[Media]) -> Any:
    return asked(*media, "What is it?")


def _one(medium: Media) -> tuple[Any, Any]:
    told = asked(medium)
    return told.messages, told.media


PARAMS = [pytest.param(name, marks=() if case.daily else pytest.mark.proof) for name, case in CASES.items()]


@pytest.fixture(scope="module", params=PARAMS)
def seer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seer:
    return Seer(CASES[request.param], tmp_path_factory.mktemp("seer"))


def checkpointed(model: Any) -> Any:
    model.gradient_checkpointing_enable()
    return model.train()


def unchanged(model: Any) -> Any:
    return model


def frozen(seer: Seer) -> Callable[[Any], Any]:
    """What freezes all towers of a model."""

    def change(model: Any) -> Any:
        freeze(model, [name for names in seer.adapter.towers.values() for name in names])
        return model

    return change


def test_a_model_by_its_config_has_the_weights_of_the_real_one(seer: Seer) -> None:
    model, planned = seer.model(), seer.planned()
    assert planned.weights.total == sum(weight.numel() for weight in model.parameters())
    assert planned.weights.trained == sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    names = {f"{name}." for names in seer.adapter.towers.values() for name in names}
    towers = [weight.numel() for name, weight in model.named_parameters() if f"{name}.".startswith(tuple(names))]
    assert planned.weights.towers == sum(towers) > 0
    assert seer.planned(changes=frozen(seer)).weights.trained == planned.weights.trained - sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if f"{name}.".startswith(tuple(names)) and weight.requires_grad
    )


@pytest.mark.parametrize(
    ("recompute", "dtype"), [(False, torch.float32), (False, torch.bfloat16), (True, torch.bfloat16)]
)
def test_what_autograd_will_keep_of_towers_and_decoder_is_what_it_keeps(
    seer: Seer, recompute: bool, dtype: torch.dtype
) -> None:
    changes = checkpointed if recompute else unchanged
    actor = LanguageActor(seer.model(changes).to(dtype), reader=seer.reader, packing=True)
    real = saved_bytes(actor, lambda: actor(seer.batch()).logprobs.sum())
    counted = seer.planned(dtype, changes).training(seer.tokens, seer.scored, 2, keep=True)
    assert counted.saved == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize(("recompute", "learning"), [(False, False), (False, True), (True, True)])
def test_the_peak_of_a_pass_with_media_is_that_of_a_real_one(seer: Seer, recompute: bool, learning: bool) -> None:
    def changes(model: Any) -> Any:
        model = model if learning else frozen(seer)(model)
        return checkpointed(model) if recompute else model

    actor, batch = LanguageActor(seer.model(changes), reader=seer.reader, packing=True), seer.batch()
    with Alive(actor) as alive:
        actor(batch).logprobs.sum().backward()
    counted = seer.planned(changes=changes).training(seer.tokens, seer.scored, 2, keep=True)
    assert counted.peak == pytest.approx(alive.peak, rel=0.05)


def test_operations_of_towers_are_those_of_a_real_pass(seer: Seer) -> None:
    base, media = seer.model().base_model, seer.media
    every = [tower for tower in seer.adapter.family.towers if {m.modality for m in media[0]} & set(tower.modalities)]
    inputs = [seer.adapter.inputs(one) for one in media]

    def run() -> list[Tensor]:
        seen = [one for tower in every for one in tower.features(base, inputs)]
        return [part for one in seen for kind in one.values() for part in (kind.features, *kind.deep)]

    def counted(*, backward: bool) -> int:
        with FlopCounterMode(display=False) as counter:
            parts = torch.cat(run())
            if backward:
                parts.sum().backward()
        return int(counter.get_total_flops())

    fused, fused_both = counted(backward=False), counted(backward=True)  # without attention, on the CPU
    with sdpa_kernel(SDPBackend.MATH):
        forward, both = counted(backward=False), counted(backward=True)
    twice = both - forward - (fused_both - fused)  # what attention that learns multiplies, of scores that are kept
    planned = seer.planned()
    assert planned.forward(seer.tokens, 1, 2).seeing == forward
    learning = planned.training(seer.tokens, 1, 2, keep=True).seeing
    assert learning == fused_both + (forward - fused) + BACKWARD_ATTENTION * twice / 2
    still = seer.planned(changes=frozen(seer)).training(seer.tokens, 1, 2, keep=True)
    assert still.seeing == forward, "no backward pass reaches what does not learn"


def test_media_are_read_once_a_prompt_whatever_the_answers(seer: Seer) -> None:
    planned = seer.planned()
    one, two = (planned.forward(seer.tokens, seer.scored, prompts) for prompts in (1, 2))
    more = planned.forward(2 * seer.tokens, seer.scored, 2)
    assert two.seeing == more.seeing == 2 * one.seeing > 0
    assert planned.forward(seer.tokens, seer.scored).seeing == 0


@pytest.mark.parametrize(
    ("batches", "learning", "bf16"), [(1, True, False), (1, False, True), (3, True, True), (3, False, False)]
)
def test_an_optimiser_steps_peak_with_media_is_that_of_a_real_one(
    seer: Seer, batches: int, learning: bool, bf16: bool
) -> None:
    changes = unchanged if learning else frozen(seer)
    dtype = torch.bfloat16 if bf16 else torch.float32
    work = Workload(
        prompts=2 * batches,
        samples=ANSWERS,
        prompt_len=seer.length,
        response_len=ANSWER,
        train_batch=2 * batches * ANSWERS,
        epochs=1,
        token_budget=2 * (seer.length + ANSWERS * ANSWER),
        most_sequences=64,
        shared=True,
        budget_len=ANSWER,
    )
    assert work.micro_batches(1) == batches and work.largest(1).prompts == 2
    job = Job(seer.planned(dtype, changes), Holding(), Engine(), work, memory=1e12, runtime=0)
    (phase,) = (phase for phase in plan_memory(job) if phase.name == "optimise")
    actor = LanguageActor(seer.model(changes), reader=seer.reader, packing=True)
    strategy = TorchStrategy({"policy": actor}, {"policy": ADAM}, bf16=bf16)
    held = held_tensors(strategy)
    with Alive(*held) as alive:
        strategy.train_step(
            "policy", [seer.batch() for _ in range(batches)], lambda output, _: (output.logprobs.mean(), Metrics())
        )
    assert phase.total == pytest.approx(sum(storages(*held).values()) + alive.peak, rel=0.1)


def held_tensors(strategy: TorchStrategy) -> list[Tensor]:
    (held,) = strategy.held.values()
    state: Any = held.adam.state  # type: ignore[attr-defined]
    moments = [t for one in state.values() for t in one.values() if t.ndim]
    return [*held.module.parameters(), *getattr(held, "masters", {}).values(), *moments]


def test_a_critic_that_sees_is_counted(seer: Seer) -> None:
    critic = LanguageCritic(seer.model(), reader=seer.reader, packing=True)
    real = saved_bytes(critic, lambda: critic(seer.batch()).values.sum())
    counted = seer.planned(kind=LanguageCritic)
    assert counted.training(seer.tokens, seer.scored, 2, keep=True).saved == pytest.approx(real, rel=0.02)
    assert counted.weights.total == sum(weight.numel() for weight in critic.parameters())
    assert counted.weights.towers == seer.planned().weights.towers


def test_embeddings_are_kept_of_frozen_towers_that_lie_whole_and_counted_to_their_bound(seer: Seer) -> None:
    assert not seer.planned().keeps_embeddings
    still = seer.planned(changes=frozen(seer))
    assert still.keeps_embeddings
    assert not seer.planned(changes=frozen(seer), every_tower=True).keeps_embeddings
    work = Workload(2, 2, seer.length, 8, 4, 1, 10_000, 8, True, 8)
    job = Job(still, Holding(), Engine(), work, memory=1e12, runtime=0, kept_inputs=2**30, kept_embeddings=2**29)
    for phase in plan_memory(job):
        assert phase.host["processed media, kept"] == 2**30
        assert phase.parts["policy embeddings of media, kept"] == 2**29
    learning = plan_memory(replace(job, policy=seer.planned()))
    assert not any("embeddings of media" in part for phase in learning for part in phase.parts)

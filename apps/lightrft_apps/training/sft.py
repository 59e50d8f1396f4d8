"""Supervised fine-tuning as `tune(config)`: what `lightrft sft` does once its flags are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lightrft_apps.config import SFTConfig, SupervisedConfig, require_valid_sft
from lightrft_apps.data.given_answers import read_answers
from lightrft_apps.models import compose, loading
from lightrft_apps.models.adaptation import adapt, freeze_named
from lightrft_apps.models.hugging_face import write_model
from lightrft_apps.models.parallel import Together, row_group_of
from lightrft_apps.models.senses import Senses
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.training.running import in_its_directory
from lightrft_apps.training.sft_summary import show_summary, write_summary
from lightrft_apps.training.supervised import Learner, batch_sizes, supervise
from lightrft_core import Example, Likelihood, Ranks, example_batches
from lightrft_rewards.models.judges.form import JudgeForm
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import TorchStrategy
from lightrft_strategy.training.compiling import compile_layers
from lightrft_strategy.training.cost import cost_of


def tune(config: SFTConfig) -> dict[str, Any]:
    """Fine-tune, or go on, in config.run.output_dir. Returns what summary.json holds.

    Raises ConfigError, RunDirectoryError, PromptDataError or TrainingDiverged, each with what to do about it.
    """
    require_valid_sft(config)
    return in_its_directory(config, partial(_run, config), show_summary)


def _run(config: SFTConfig, run: RunDirectory, together: Together) -> None:
    senses = loading.load_senses(config.model)
    data = read_answers(config, senses, run.rejected if together.first else None)
    supervise(config, run, together, data, partial(_learner, config, senses, together.ranks), write_summary)


def _learner(
    config: SFTConfig, senses: Senses, ranks: Ranks, steps: int, say: Callable[[str], None]
) -> Learner[Example]:
    return language_learner(config, config.data.max_len, senses, ranks, steps, say)


def language_learner(
    config: SupervisedConfig,
    max_len: int,
    senses: Senses,
    ranks: Ranks,
    steps: int,
    say: Callable[[str], None],
    form: JudgeForm | None = None,
    built: Callable[[Any], None] = lambda model: None,
) -> Learner[Example]:
    """A language model that learns to write what examples of at most max_len tokens say.

    say: see load_to_hold. form: of a judge, how it is asked. built: told the whole model, which learns or follows.
    """
    model = loading.load_to_hold(config, say=say)
    sizes = batch_sizes(config.train, max_len, cost_of(model, senses.adapter))
    strategy = hold_policy(config, model, senses, ranks, steps)
    replica = compose.build_replica(config, senses, strategy)
    whole = model if replica is None else replica.model
    built(whole)
    export = partial(write_model, whole, senses.processor, form=form)
    objective = Likelihood(config.train.aux_loss_coef)
    return Learner("policy", strategy, replica, export, export, example_batches, objective, sizes)


def hold_policy(config: SupervisedConfig, model: Any, senses: Senses, ranks: Ranks, steps: int) -> TorchStrategy:
    """The strategy that trains a model for so many steps. Raises ConfigError if it cannot be trained so."""
    adapt(model, config)
    freeze_named(model, config)
    train = config.train
    with compose.packable(config.model.pretrain):
        actor = LanguageActor(
            model,
            reader=senses.reader(config.parallel),
            packing=train.packing_samples,
            sharing=False,
            sequence_group=row_group_of(config.parallel, ranks),
            balance=train.aux_loss_coef > 0,
        )
    if train.compile:
        compile_layers(actor)
    factors = senses.factors(train.learning_rate, train.vision_learning_rate)
    optimiser = compose.optimiser_of(train, train.learning_rate, steps, factors)
    return compose.held(config, {"policy": actor}, {"policy": optimiser}, ranks)

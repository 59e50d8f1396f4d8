"""Training of a scalar reward model as `train_reward_model(config)`: what `lightrft srm` does with its flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lightrft_apps.config import ConfigError, RewardModelArgs, RMConfig, heads_of, require_valid_rm
from lightrft_apps.data.contests import decided, read_contests
from lightrft_apps.data.solutions import judged_steps
from lightrft_apps.models import compose, loading
from lightrft_apps.models.adaptation import adapt, freeze_named
from lightrft_apps.models.parallel import Together
from lightrft_apps.models.senses import Senses
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.lines import read_lines
from lightrft_apps.training.running import in_its_directory
from lightrft_apps.training.srm_summary import held_out_moments, show_summary, write_summary
from lightrft_apps.training.supervised import Learner, batch_sizes, supervise
from lightrft_core import Ranks
from lightrft_rewards.models.card import RewardCard
from lightrft_rewards.models.contest_losses import LossOptions
from lightrft_rewards.models.loading import save_reward_model
from lightrft_rewards.models.objective import RewardObjective
from lightrft_rewards.models.padding import set_padding_token
from lightrft_rewards.models.passage import Contest
from lightrft_rewards.models.reward_model import RewardModel
from lightrft_strategy.training.compiling import compile_layers
from lightrft_strategy.training.cost import cost_of

MODEL = "rm"
"""What strategy, checkpoints and metrics call it."""

LOSSES = {"sigmoid": "bradley_terry", "logexp": "log_exp", "steps": "cross_entropy"}
"""--loss_type -> the library's name, where LightRFT's and OpenRLHF's users know another one."""


def train_reward_model(config: RMConfig) -> dict[str, Any]:
    """Train, or go on, in config.run.output_dir. Returns what summary.json holds.

    Raises ConfigError, RunDirectoryError, PromptDataError or TrainingDiverged, each with what to do about it.
    """
    require_valid_rm(config)
    return in_its_directory(config, partial(_run, config), show_summary)


def _run(config: RMConfig, run: RunDirectory, together: Together) -> None:
    senses = loading.load_senses(config.model)
    data = read_contests(config, loss_of(config.scores), senses, run.rejected if together.first else None)
    count, unit = (judged_steps, "steps") if config.scores.loss_type == "steps" else (decided, "comparisons")
    known = {head: count(data.read.held_out, head) for head in heads_of(config.scores)}
    build = partial(_learner, config, run, senses, together.ranks)
    supervise(config, run, together, data, build, partial(write_summary, decided=known, unit=unit))


def _learner(
    config: RMConfig, run: RunDirectory, senses: Senses, ranks: Ranks, steps: int, say: Callable[[str], None]
) -> Learner[Contest]:
    model = loading.load_to_hold(config, say=say)
    rewards = reward_model(config, model, senses)
    freeze_named(rewards, config)
    if config.train.compile:
        compile_layers(rewards)
    train = config.train
    within = next(name for name, part in model.named_modules() if part is rewards.model)
    factors = senses.factors(train.learning_rate, train.vision_learning_rate, f"{within}." if within else "")
    optimiser = compose.optimiser_of(train, train.learning_rate, steps, factors)
    sizes = batch_sizes(train, config.data.max_len, cost_of(model, senses.adapter))
    strategy = compose.held(config, {MODEL: rewards}, {MODEL: optimiser}, ranks, averaged=MODEL)

    def whole() -> RewardModel:
        return reward_model(config, loading.load_empty(config, config.model), senses)

    replica = compose.replica_of(config, whole, strategy.held[MODEL])
    objective = RewardObjective(heads_of(config.scores), loss_of(config.scores), MODEL)
    trained = rewards if replica is None else replica.actor

    def export(folder: Path) -> None:
        write_reward_model(
            config, trained, senses, folder, *held_out_moments(read_lines(run.metrics).lines[-1], rewards.heads)
        )

    export_ema = partial(write_reward_model, config, trained, senses)
    return Learner(MODEL, strategy, replica, export, export_ema, objective.cut, objective, sizes)


def write_reward_model(
    config: RMConfig,
    rewards: RewardModel,
    senses: Senses,
    folder: Path,
    means: Mapping[str, float] = {},
    stds: Mapping[str, float] = {},
) -> None:
    """Write a whole reward model for others to load. means, stds: by head, of the rewards of what is held out."""
    scores, data = config.scores, config.data
    card = RewardCard(
        rewards.heads,
        rewards.pooling,
        rewards.uncertain,
        scores.probing_layer,
        data.apply_chat_template,
        data.max_len,
        scores.value_prefix_head,
        process=scores.loss_type == "steps",
        step_separator=scores.step_separator,
        temperature=scores.loss_temperature,
        means=means,
        stds=stds,
    )
    save_reward_model(rewards, senses.processor, folder, card)


def reward_model(config: RMConfig, model: Any, senses: Senses) -> RewardModel:
    """The reward model that a loaded model becomes, with the run's adapter if it has one. The model is used up.

    From now on the tokenizer pads as the reward model's folder needs it. Raises ConfigError if the model does not have
    what the flags ask for.
    """
    with _naming("pretrain", config.model.pretrain):
        set_padding_token(senses.tokenizer, model.get_input_embeddings().num_embeddings)
    adapt(model, config)
    scores = config.scores
    with _naming("probing_layer", scores.probing_layer):
        return RewardModel(
            model,
            heads=heads_of(scores),
            pooling="attention" if scores.pooling_method == "attn" else scores.pooling_method,
            uncertain=loss_of(scores).needs_uncertain,
            probing_layer=scores.probing_layer,
            reader=senses.reader(config.parallel),
            seed=config.run.seed,
        )


def loss_of(scores: RewardModelArgs) -> LossOptions:
    """What the flags say is minimised."""
    return LossOptions(
        LOSSES.get(scores.loss_type, scores.loss_type),
        margin=scores.margin,
        label_smoothing=scores.label_smoothing,
        temperature=scores.loss_temperature,
        tie_share=scores.tie_share,
        huber_delta=scores.huber_delta,
    )


@contextmanager
def _naming(flag: str, value: object) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigError([f"--{flag} {value}: {error}"]) from error

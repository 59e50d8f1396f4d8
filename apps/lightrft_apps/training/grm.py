"""Training of a generative reward model as `train_judge(config)`: what `lightrft grm` does with its flags."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lightrft_apps.config import ConfigError, GRMConfig, require_valid_grm
from lightrft_apps.config.checks.lora import names_in
from lightrft_apps.data.judgements import read_judgements
from lightrft_apps.models import loading
from lightrft_apps.models.parallel import Together
from lightrft_apps.models.senses import Senses
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.training.grm_summary import show_summary, write_summary
from lightrft_apps.training.running import in_its_directory
from lightrft_apps.training.sft import language_learner
from lightrft_apps.training.supervised import Learner, supervise
from lightrft_core import Engine, Example
from lightrft_core.ranks import share
from lightrft_rewards.evaluation import JudgedComparison
from lightrft_rewards.models.judges import JudgeForm, JudgeWriter, judge_comparisons
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.generation import end_tokens
from lightrft_strategy.reading import Reader
from lightrft_strategy.training.compiling import SampledUncompiled


def train_judge(config: GRMConfig) -> dict[str, Any]:
    """Train, or go on, in config.run.output_dir. Returns what summary.json holds.

    Raises ConfigError, RunDirectoryError, PromptDataError or TrainingDiverged, each with what to do about it.
    """
    require_valid_grm(config)
    return in_its_directory(config, partial(_run, config), show_summary)


def form_of(config: GRMConfig) -> JudgeForm:
    """How the judge is asked."""
    judge, data = config.judge, config.data
    return JudgeForm(
        judge.judge_kind,
        judge.judge_reasoning,
        judge.judge_ties,
        judge.lowest_grade,
        judge.highest_grade,
        names_in(judge.heads),
        data.apply_chat_template,
        data.max_len,
        judge.generate_max_len,
    )


def _run(config: GRMConfig, run: RunDirectory, together: Together) -> None:
    senses, form = loading.load_senses(config.model), form_of(config)
    writer = JudgeWriter(senses.tokenizer, senses.encoder, form, media_urls=config.data.media_urls)
    data, held_out = read_judgements(config, writer, run.rejected if together.first else None)
    engines: list[Engine] = []
    judged: list[JudgedComparison] = []

    def built(model: Any) -> None:
        if held_out:
            engines.append(_engine(config, model, senses))

    def build(steps: int, say: Callable[[str], None]) -> Learner[Example]:
        return language_learner(config, config.data.max_len, senses, together.ranks, steps, say, form, built)

    def look() -> None:
        mine = share(held_out, together.ranks)
        said = [judge_comparisons(engine, writer, mine).judged for engine in engines]
        judged.extend(together.ranks.gather([each for part in said for each in part]))

    supervise(config, run, together, data, build, partial(write_summary, judged=judged), look)


def _engine(config: GRMConfig, model: Any, senses: Senses) -> Engine:
    """What asks the judge. Raises ConfigError if it cannot sample from such a model."""
    tokenizer = senses.tokenizer

    def decode(rows: list[list[int]]) -> list[str]:
        texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
        return texts

    ends, reader = end_tokens(model, tokenizer), Reader(senses.adapter)
    try:
        engine = EmbeddedEngine(model, decode, eos_token_ids=ends, seed=config.run.seed, reader=reader)
    except ValueError as error:
        raise ConfigError([f"--eval_data {config.data.eval_data}: {error}: leave --eval_data out"]) from error
    return SampledUncompiled(engine, model) if config.train.compile else engine

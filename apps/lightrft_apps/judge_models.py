"""Reward models and services that judge a run's answers, each a Scorer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from lightrft_apps import compose
from lightrft_apps.config import ConfigError, EngineArgs, JudgesArgs, ModelArgs
from lightrft_apps.engines import EngineNeeds, open_engine
from lightrft_core import Engine
from lightrft_rewards.judge_prompt import Question
from lightrft_rewards.llm_judge import LLMJudge
from lightrft_rewards.models.judges import GenerativeScorer, JudgeForm, JudgeWriter
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.scorer import Scorer
from lightrft_rewards.service.client import RemoteScorer
from lightrft_strategy.training.optimiser import set_precision

POSITIONS = 1 << 20
"""Tokens of a judge's question where it says of no limit; engines stop at what its model can read."""


@dataclass(frozen=True)
class JudgingModel:
    """A reward model of this process. parts: what it gives, by name. module: its weights, wherever they lie; None: an
    engine holds them."""

    scorer: Scorer
    parts: tuple[str, ...]
    module: nn.Module | None


def load_judge(
    name: str,
    folder: str,
    judges: JudgesArgs,
    engines: ExitStack,
    *,
    dtype: torch.dtype,
    media: Mapping[str, int],
) -> JudgingModel:
    """A reward model from its folder: one with a judge.json writes judgements, any other gives scores.

    engines: ends the engine that a judge has. media: the most that a prompt has of each modality.
    Raises ConfigError if it cannot be loaded.
    """
    with _naming("reward_pretrain", folder):
        files = compose.model_files(folder)
        form = JudgeForm.read(files)
        if form is None:
            scalar = ModelScorer.load(
                files,
                name=name,
                token_budget=judges.reward_token_budget,
                max_len=judges.reward_max_len,
                dtype=dtype,
            )
            return JudgingModel(scalar, scalar.parts, scalar.module)
        return _generative(name, files, form, judges, engines, dtype, media)


def _generative(
    name: str,
    folder: str,
    form: JudgeForm,
    judges: JudgesArgs,
    engines: ExitStack,
    dtype: torch.dtype,
    media: Mapping[str, int],
) -> JudgingModel:
    of = ModelArgs(folder, bf16=dtype == torch.bfloat16, fp16=dtype == torch.float16)
    senses = compose.load_senses(of)
    form = replace(form, max_len=judges.reward_max_len or form.max_len)
    model = compose.load_model(of).eval().requires_grad_(False)
    set_precision(model, dtype)
    args = EngineArgs(engine_type="vllm" if judges.rm_use_engine else "embedded")
    needs = EngineNeeds(form.max_len or POSITIONS, (), seed=0, media=media)
    opened = open_engine(args, of, model, senses, needs, progress=lambda done: None, say=lambda message: None)
    engine: Engine = engines.enter_context(opened)
    if judges.rm_use_engine:
        engine.load_weights(0)
    scorer = GenerativeScorer(
        engine,
        JudgeWriter(senses.tokenizer, senses.encoder, form),
        name=name,
        opponents=judges.judge_opponents,
        samples=judges.judge_samples,
        temperature=judges.judge_temperature,
        identity=_digest(model),
    )
    return JudgingModel(scorer, scorer.parts, None if judges.rm_use_engine else model)


def remote(judges: JudgesArgs, urls: str) -> Scorer:
    """A reward service. Raises ConfigError for a token that is not there."""
    return RemoteScorer(
        _listed(urls),
        name="remote",
        dialect=judges.remote_rm_dialect,
        timeout=judges.judge_timeout,
        key_env=_known("remote_rm_key_env", judges.remote_rm_key_env),
    )


def llm(judges: JudgesArgs, urls: str) -> Scorer:
    """An LLM that grades. Raises ConfigError for a key, RewardSetupError for a question that is none."""
    file = judges.llm_judge_prompt
    return LLMJudge(
        _listed(urls),
        model=judges.llm_judge_model or "",
        question=None if file is None else Question(Path(file).expanduser().read_text(encoding="utf-8")),
        name="llm",
        timeout=judges.judge_timeout,
        key_env=_known("llm_judge_key_env", judges.llm_judge_key_env),
    )


def _listed(urls: str) -> list[str]:
    return [url.strip() for url in urls.split(",")]


def _known(flag: str, variable: str | None) -> str | None:
    if variable is not None and not os.environ.get(variable):
        raise ConfigError([f"--{flag} {variable}: there is no such environment variable, or it is empty"])
    return variable


def _digest(model: nn.Module) -> str:
    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _naming(flag: str, folder: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError([f"--{flag} {folder} cannot be loaded: {error}"]) from error

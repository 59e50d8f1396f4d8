"""Reward models from their folders, ready to judge: scalar ones, and judges that write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from lightrft_apps.config import ConfigError, EngineArgs, ModelArgs
from lightrft_apps.engines.own import AnyEngine, EngineNeeds, open_engine
from lightrft_apps.models import loading
from lightrft_rewards.models.judges import JudgeForm, JudgeWriter
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_strategy.training.optimiser import set_precision

POSITIONS = 1 << 20
"""Tokens of a judge's question where it says of no limit; engines stop at what its model can read."""


@dataclass(frozen=True)
class Opening:
    """How reward models are opened.

    dtype: what they are computed in; a scalar one's head is in float32. max_len: the most tokens of a passage, or of a
    question with its judgement; None: as the model was trained. token_budget, value_prefix_head: of scalar models, as
    for ModelScorer.load. engine_type: what judges sample by. media: the most that a question has of each modality.
    media_urls: fetch media that are given as URLs.
    """

    dtype: torch.dtype = torch.float32
    max_len: int | None = None
    token_budget: int = 8192
    value_prefix_head: str | None = None
    engine_type: Literal["embedded", "vllm"] = "embedded"
    media: Mapping[str, int] = field(default_factory=dict[str, int])
    media_urls: bool = False
    attn_implementation: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class WritingJudge:
    """A language model that is asked. model: its weights, wherever they lie; another engine than the embedded one has
    its own."""

    model: Any
    engine: AnyEngine
    writer: JudgeWriter


def open_reward_model(name: str, folder: str, how: Opening, engines: ExitStack) -> ModelScorer | WritingJudge:
    """A folder or hub name with a judge.json is a judge that writes, any other a model that gives scores.

    name: what a scalar model's rewards are called. engines: ends the engine that a judge has.
    Raises ConfigError if it cannot be loaded.
    """
    with _naming(folder):
        files = loading.model_files(folder)
        form = JudgeForm.read(files)
        if form is not None:
            return _writing(files, form, how, engines)
        return ModelScorer.load(
            files,
            name=name,
            token_budget=how.token_budget,
            max_len=how.max_len,
            dtype=how.dtype,
            value_prefix_head=how.value_prefix_head,
            media_urls=how.media_urls,
            attn_implementation=how.attn_implementation,
            trust_remote_code=how.trust_remote_code,
        )


def _writing(folder: str, form: JudgeForm, how: Opening, engines: ExitStack) -> WritingJudge:
    of = ModelArgs(
        folder,
        bf16=how.dtype == torch.bfloat16,
        fp16=how.dtype == torch.float16,
        attn_implementation=how.attn_implementation,
        trust_remote_code=how.trust_remote_code,
    )
    senses = loading.load_senses(of)
    form = replace(form, max_len=how.max_len or form.max_len)
    writer = JudgeWriter(
        senses.tokenizer, senses.encoder, form, max_len_flag="--reward_max_len", media_urls=how.media_urls
    )
    model = loading.load_model(of).eval().requires_grad_(False)
    set_precision(model, how.dtype)
    args = EngineArgs(engine_type=how.engine_type)
    needs = EngineNeeds(form.max_len or POSITIONS, (), seed=0, media=how.media)
    opened = open_engine(args, of, model, senses, needs, progress=lambda done: None, say=lambda message: None)
    engine = engines.enter_context(opened)
    engine.load_weights(0)
    return WritingJudge(model, engine, writer)


@contextmanager
def _naming(folder: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError([loading.not_loaded("reward_pretrain", folder, error)]) from error

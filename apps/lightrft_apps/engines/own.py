"""From the engine's flags to an engine: the embedded one, or vLLM and SGLang in this process or as servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from lightrft_apps.config import ConfigError, EngineArgs, ModelArgs, engine_urls
from lightrft_apps.models.loading import model_folder
from lightrft_apps.models.parallel import Together
from lightrft_apps.models.precision import dtype_name
from lightrft_apps.models.senses import Senses
from lightrft_core import SamplingParams
from lightrft_strategy.engines.attended import Attended, Server, waiting
from lightrft_strategy.engines.backend import Backend
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.fleet import Fleet
from lightrft_strategy.engines.refusals import refusal, unreadable
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.engines.sync.probe import TEXT, Probe
from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.engines.sync.receipt import Tolerance
from lightrft_strategy.generation import end_tokens
from lightrft_strategy.reading import Reader
from lightrft_strategy.training.pulse import Awaited

AnyEngine: TypeAlias = EmbeddedEngine | ServedEngine


@dataclass(frozen=True)
class EngineNeeds:
    """What is asked of an engine.

    longest: tokens of the longest prompt with its answer. laws: of all answers. media: the most of any prompt.
    """

    longest: int
    laws: tuple[SamplingParams, ...]
    seed: int
    max_sequences: int = 0
    media: Mapping[str, int] = field(default_factory=dict[str, int])


@contextmanager
def open_engine(
    args: EngineArgs,
    of: ModelArgs,
    model: Any,
    senses: Senses,
    needs: EngineNeeds,
    *,
    progress: Callable[[int], None],
    say: Callable[[str], None],
    together: Together | None = None,
) -> Iterator[AnyEngine]:
    """An engine that samples from `model`, which may be in training; it ends with the block.

    together: the run's processes, which are told while this one waits for a server.
    Raises ConfigError if its package is not installed, or it cannot draw by one of the laws or read one of the media.
    """

    tokenizer = senses.tokenizer

    def decode(rows: list[list[int]]) -> list[str]:
        texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
        return texts

    ends = end_tokens(model, tokenizer)
    if args.engine_type == "embedded":
        yield EmbeddedEngine(
            model,
            decode,
            eos_token_ids=ends,
            seed=needs.seed,
            reader=Reader(senses.adapter),
            max_sequences=needs.max_sequences,
            progress=progress,
        )
        return
    model_type = model.config.model_type
    blind = unreadable(args.engine_type, served=_is_served(args), media=needs.media, model_type=model_type)
    if blind:
        raise ConfigError([blind])
    probe = tokenizer(TEXT, add_special_tokens=False).input_ids
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    config = EngineConfig(
        model=model_folder(of.pretrain),
        dtype=dtype_name(of),
        max_model_len=max(min(needs.longest, positions or needs.longest), len(probe) + 1),
        seed=needs.seed,
        tp_size=args.engine_tp_size,
        num_engines=args.vllm_num_engines,
        mem_util=args.engine_mem_util,
        max_num_seqs=args.max_num_seqs,
        enable_prefix_caching=args.enable_prefix_caching,
        enforce_eager=args.enforce_eager,
        enable_sleep=args.enable_engine_sleep,
        fp8=args.fp8_rollout,
        url=engine_urls(args.engine_url),
        sync_backend=args.vllm_sync_backend,
        trust_remote_code=of.trust_remote_code,
        timeout=args.engine_timeout,
        media={} if senses.adapter is None else {each: needs.media.get(each, 0) for each in senses.adapter.towers},
    )
    source = ModelWeights(model, renamed={} if senses.adapter is None else senses.adapter.family.engine_names)
    tolerance = Tolerance.of(source.dtype, quantised=config.fp8)
    engine = ServedEngine(
        open_backend(args, config, ends, tolerance, together),
        source,
        decode,
        probe=Probe(probe, tolerance),
        seed=needs.seed,
        adapter=senses.adapter,
        refuse=lambda prompt, budget: refusal(prompt, budget, vocabulary, positions),
        progress=progress,
        say=say,
    )
    try:
        refused = [line for law in needs.laws for line in engine.refusals(law)]
        if refused:
            raise ConfigError([f"--engine_type {args.engine_type}: {line}" for line in dict.fromkeys(refused)])
        yield engine
    finally:
        engine.close()


def open_backend(
    args: EngineArgs,
    config: EngineConfig,
    eos_token_ids: Sequence[int],
    tolerance: Tolerance,
    together: Together | None = None,
) -> Backend:
    """The backend that --engine_type and its companions name. Raises ConfigError if its package is not installed.

    tolerance: how far the log-probabilities of several engines may lie apart. together: as for open_engine. Under a
    launcher every process has engines of its own, on devices of their own.
    """
    start = partial(_attended, together) if _is_served(args) else _in_process
    process = os.environ.get("LOCAL_RANK")
    before = int(process or 0) * config.num_engines
    backends: list[Backend] = []
    try:
        for number, url in enumerate(config.url or [None] * config.num_engines):
            first = (before + number) * config.tp_size
            devices = tuple(range(first, first + config.tp_size))
            mine = replace(config, devices=devices) if config.num_engines > 1 or process else config
            backends.append(start(args.engine_type, mine, eos_token_ids, url))
    except BaseException as error:
        for backend in backends:
            backend.close()
        if isinstance(error, ImportError):
            raise ConfigError([str(error)]) from error
        raise
    return backends[0] if len(backends) == 1 else Fleet(backends, tolerance)


def awaited_of(args: EngineArgs) -> dict[str, Awaited]:
    """By the phases of a step, that they wait for the engine in this process; a server is waited for by `Attended`."""
    if _is_served(args):
        return {}
    engine = Awaited(f"the engine {args.engine_type}, in this process")
    return dict.fromkeys(("sample", "publish", "evaluate"), engine)


def _is_served(args: EngineArgs) -> bool:
    return bool(args.engine_server or args.engine_url or args.vllm_num_engines > 1 or args.engine_tp_size > 1)


def _in_process(engine_type: str, config: EngineConfig, eos_token_ids: Sequence[int], url: str | None) -> Backend:
    if engine_type == "vllm":
        from lightrft_strategy.engines.vllm.in_process import VllmInProcess

        return VllmInProcess(config, eos_token_ids)
    from lightrft_strategy.engines.sglang.in_process import SglangInProcess

    return SglangInProcess(config, eos_token_ids)


def _attended(
    together: Together | None, engine_type: str, config: EngineConfig, eos_token_ids: Sequence[int], url: str | None
) -> Backend:
    """A server, waited for in the sight of the run's other processes from its start on."""
    if together is None:
        return _server(engine_type, config, eos_token_ids, url)
    pulse, rank = together.pulse, together.ranks.rank
    with waiting(f"the engine at {url}" if url else f"its {engine_type} server to start", pulse, rank):
        server = _server(engine_type, config, eos_token_ids, url)
    return Attended(server, pulse, rank)


def _server(engine_type: str, config: EngineConfig, eos_token_ids: Sequence[int], url: str | None) -> Server:
    if engine_type == "vllm":
        from lightrft_strategy.engines.vllm.server import VllmServer

        return VllmServer(config, eos_token_ids, url)
    from lightrft_strategy.engines.sglang.server import SglangServer

    return SglangServer(config, eos_token_ids, url)

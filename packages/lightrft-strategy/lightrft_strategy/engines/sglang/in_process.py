"""SGLang started from the trainer's own process: no HTTP, but SGLang keeps its workers in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from lightrft_strategy.engines.backend import EngineRefused
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.sglang.arguments import ENVIRONMENT, engine_arguments, need_accelerator
from lightrft_strategy.engines.sglang.base import Refused, Sglang

T = TypeVar("T")


class SglangInProcess(Sglang):
    """A Backend over sglang.Engine.

    Raises ImportError, naming the extra to install, where there is no SGLang, EngineRefused where it cannot run. When a
    worker of it dies, SGLang ends the whole process, so there is nothing to survive; a server's death is survived.
    """

    name = "sglang"
    who = "SGLang"
    survives = False

    def __init__(self, config: EngineConfig, eos_token_ids: Sequence[int]) -> None:
        super().__init__(config, eos_token_ids)
        try:
            from sglang import Engine
        except ImportError as error:
            raise ImportError(
                "--engine_type sglang needs an environment with SGLang: uv sync --extra sglang --no-group base"
            ) from error
        need_accelerator()
        os.environ.update(ENVIRONMENT)
        self.engine = Engine(**engine_arguments(config))

    async def generate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One answer. Raises Refused. Engine.generate itself cannot ask for sampling masks."""
        from fastapi import HTTPException
        from sglang.srt.managers.io_struct import GenerateReqInput

        try:
            answer: dict[str, Any] = await anext(
                self.engine.tokenizer_manager.generate_request(GenerateReqInput(**body), None)
            )
        except (ValueError, HTTPException) as error:
            raise Refused(str(error)) from error
        return answer

    async def command(self, name: str, fields: Mapping[str, Any]) -> None:
        """Do what the tokenizer manager's method of this name does, as SGLang's route of the name would."""
        from sglang.srt.managers import io_struct

        kind = {
            "begin_weight_update": io_struct.BeginWeightUpdateReqInput,
            "end_weight_update": io_struct.EndWeightUpdateReqInput,
            "update_weights_from_tensor": io_struct.UpdateWeightsFromTensorReqInput,
            "release_memory_occupation": io_struct.ReleaseMemoryOccupationReqInput,
            "resume_memory_occupation": io_struct.ResumeMemoryOccupationReqInput,
        }[name]
        outcome = await getattr(self.engine.tokenizer_manager, name)(kind(**fields), None)
        if outcome is not None and not outcome[0]:
            raise Refused(outcome[1])

    async def lives(self) -> bool:
        """SGLang ends this process if a worker dies; a worker that hangs is noticed by SGLang's own watchdog."""
        return True

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run in SGLang's own event loop, where its sockets live."""
        result: T = self.engine.loop.run_until_complete(work)
        return result

    def restart(self) -> None:
        """An engine in this process does not die alone."""
        raise EngineRefused("SGLang ends the trainer's process with itself and cannot be restarted from it")

    def close(self) -> None:
        """End SGLang's workers."""
        self.engine.shutdown()

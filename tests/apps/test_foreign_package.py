"""A package of others with an algorithm, a format, a rule, an engine and a strategy, and what if it is a bad one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.usefixtures("one_thread")

MODULE = '''
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from lightrft_apps.engines.own import open_engine
from lightrft_core import ALGORITHMS, AdvantageEstimator
from lightrft_strategy.training import Whole

def ranks(rewards, valid):
    """Of each answer how many of its group it beats, less how many beat it, over n."""
    known = valid.unsqueeze(-1) & valid.unsqueeze(-2)
    return ((rewards.unsqueeze(-1) - rewards.unsqueeze(-2)).sign() * known).sum(-1) / rewards.shape[-1]

ZOO = replace(
    ALGORITHMS["grpo"], title="GRPO by ranks", paper="zoo", equations="-", kl_coef=0.0,
    estimator=AdvantageEstimator(ranks, within_group=True),
)

def addends(content):
    first, second = content["addends"]
    return {"input": f"{first}+{second}=", "label": first + second}

def listed(content):
    return list(content)

def fours(response, label):
    return response.count("4") + len(response) / 10

@dataclass
class Counted:
    inner: object
    say: object
    answers: list = field(default_factory=list)

    def generate(self, prompts, sampling, *, step):
        groups = self.inner.generate(prompts, sampling, step=step)
        self.answers += [rollout for group in groups for rollout in group.rollouts]
        return groups

    def load_weights(self, version):
        metrics = self.inner.load_weights(version)
        metrics.mean("zoo/answers", [len(self.answers)])
        return metrics

@contextmanager
def counted(args, of, model, senses, needs, *, progress, say):
    args = replace(args, engine_type="embedded")
    with open_engine(args, of, model, senses, needs, progress=progress, say=say) as inner:
        yield Counted(inner, say)

HELD = []

def held(module, config, dtype, ranks):
    HELD.append(config is not None)
    return Whole(module, config, dtype, ranks)

number = 3
'''
ENTRY_POINTS = """
[lightrft.algorithms]
zoo_grpo = zoo:ZOO
broken = zoo_missing:ZOO
wrong = zoo:number
[lightrft.formats]
addends = zoo:addends
listed = zoo:listed
broken = zoo_missing:addends
wrong = zoo:number
[lightrft.rewards]
fours = zoo:fours
[lightrft.engines]
counted = zoo:counted
broken = zoo_missing:counted
wrong = zoo:number
[lightrft.strategies]
held = zoo:held
broken = zoo_missing:held
wrong = zoo:number
"""
ROWS = [{"addends": [a, 4]} for a in range(4)]


def install(folder: Path, entry_points: str, *, name: str = "zoo") -> None:
    """What installing a package without modules leaves in a folder."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the package, on the path of this process and of those it starts."""
    folder = tmp_path / "site"
    install(folder, ENTRY_POINTS)
    (folder / "zoo.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.delitem(sys.modules, "zoo", raising=False)
    return folder


@pytest.fixture
def of_the_zoo(flags: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Flags of a run that uses one of everything that the package offers, on a file with one bad row."""
    rows = tmp_path / "addends.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, {"no": "addends"}]))
    del flags["reward_fn"]
    return flags | {
        "prompt_data": f"addends:{rows}",
        "algorithm": "zoo_grpo",
        "rule_reward": "fours",
        "engine_type": "counted",
        "max_num_seqs": 7,
        "strategy": "held",
    }


@pytest.mark.usefixtures("zoo")
def test_one_run_uses_an_algorithm_a_format_a_rule_an_engine_and_a_strategy_of_another_package(
    of_the_zoo: dict[str, Any], lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    ended = lightrft("rl", **of_the_zoo, max_steps=1)
    assert ended.code == 0, ended.err
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line["zoo/answers"] for line in lines if "zoo/answers" in line} == {8}
    (rejected,) = map(json.loads, (run / "rejected.jsonl").read_text().splitlines())
    assert rejected["reason"] == "the format addends fails on it: KeyError: 'addends'"

    rows = pq.read_table(run / "trajectories/step_000001.parquet").to_pylist()
    assert {row["prompt"] for row in rows} == {f"{a}+4=" for a in range(4)}
    groups: dict[str, list[Any]] = {}
    for row in rows:
        assert row["reward"] == pytest.approx(row["response"].count("4") + len(row["response"]) / 10)
        groups.setdefault(row["prompt_uid"], []).append(row)
    for group in groups.values():
        for row in group:
            beats = sum((row["reward"] > other["reward"]) - (row["reward"] < other["reward"]) for other in group)
            assert row["advantage"] == pytest.approx(beats / 2)
    assert any(row["advantage"] for row in rows)
    assert sys.modules["zoo"].HELD == [True], "the policy alone"


@pytest.mark.usefixtures("zoo")
def test_the_commands_list_an_algorithm_of_another_package_and_tell_of_a_broken_one(
    lightrft: Callable[..., Any],
) -> None:
    from lightrft_apps.config.commands.compare import parse_compare
    from lightrft_core import ALGORITHMS

    listed = lightrft("algorithms", "--json")
    rows = json.loads(listed.out)
    assert (listed.code, list(rows)) == (0, [*ALGORITHMS, "zoo_grpo"])
    assert (rows["zoo_grpo"]["title"], rows["zoo_grpo"]["advantage"]) == ("GRPO by ranks", "its own")
    told = "--algorithm broken: the package zoo 1.0 (entry point broken = zoo_missing:ZOO of lightrft.algorithms)"
    assert f"lightrft algorithms: {told} cannot be loaded: ModuleNotFoundError: No module named" in listed.err
    assert "GRPO by ranks" in lightrft("algorithms", "zoo_grpo").out
    assert (ended := lightrft("algorithms", "broken")).code == 2 and told in ended.err
    _, runs = parse_compare(["--algorithms", "zoo_grpo,rloo", "--seeds", "1"])
    assert [run.algorithm for run in runs] == ["zoo_grpo", "rloo"]


ALGORITHM, FORMAT, ENGINE, HOLD = (f"lightrft.{kind}" for kind in ("algorithms", "formats", "engines", "strategies"))


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"algorithm": "broken"}, f"zoo 1.0 (entry point broken = zoo_missing:ZOO of {ALGORITHM}) cannot be loaded: "),
        ({"algorithm": "wrong"}, f"zoo 1.0 (entry point wrong = zoo:number of {ALGORITHM}) is no lightrft_core.Algor"),
        ({"algorithm": "zoo_ppo"}, "--algorithm zoo_ppo: set it to one of grpo, "),
        ({"prompt_data": "broken:x"}, f"zoo 1.0 (entry point broken = zoo_missing:addends of {FORMAT}) cannot be lo"),
        ({"prompt_data": "wrong:x"}, f"zoo 1.0 (entry point wrong = zoo:number of {FORMAT}) is no function of a row"),
        ({"engine_type": "broken"}, f"zoo 1.0 (entry point broken = zoo_missing:counted of {ENGINE}) cannot be loa"),
        ({"engine_type": "wrong"}, f"zoo 1.0 (entry point wrong = zoo:number of {ENGINE}) cannot be called"),
        ({"strategy": "broken"}, f"zoo 1.0 (entry point broken = zoo_missing:held of {HOLD}) cannot be loaded: "),
        ({"strategy": "wrong"}, f"zoo 1.0 (entry point wrong = zoo:number of {HOLD}) cannot be called"),
        ({"strategy": "ddp"}, "--strategy ddp: set it to one of broken, held, wrong, or leave it out; --fsdp and"),
        ({"zero_stage": 1}, "--strategy held and --zero_stage are two ways of holding a model"),
        ({"engine_type": "hf"}, "engine_type='hf': expected one of embedded, vllm, sglang, broken, counted, wrong"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_package_before_anything_loads(
    changed: dict[str, str], told: str, of_the_zoo: dict[str, Any]
) -> None:
    assert told in "\n".join(problems(of_the_zoo | changed))


@pytest.mark.parametrize(
    ("group", "name", "flags_of_ours"),
    [
        (ALGORITHM, "grpo", {"algorithm": "grpo"}),
        (FORMAT, "gsm8k", {"prompt_data": "gsm8k:x"}),
        (FORMAT, "reasoning_gym", {"prompt_data": "reasoning_gym:chain_sum"}),
        (ENGINE, "embedded", {"engine_type": "embedded"}),
    ],
)
def test_a_name_of_ours_cannot_be_taken_over(
    group: str, name: str, flags_of_ours: dict[str, str], of_the_zoo: dict[str, Any], zoo: Path
) -> None:
    install(zoo, f"[{group}]\n{name} = zoo:number\n", name="taker")
    told = "\n".join(problems(of_the_zoo | flags_of_ours))
    offer = f"the package taker 1.0 (entry point {name} = zoo:number of {group})"
    assert f"{offer} offers the name {name!r}, which is LightRFT's own: uninstall it" in told
    assert "taker" not in "\n".join(problems(of_the_zoo))


def test_two_packages_that_offer_one_name_are_both_told(of_the_zoo: dict[str, Any], zoo: Path) -> None:
    install(zoo, f"[{ALGORITHM}]\nzoo_grpo = zoo:ZOO\n", name="ark")
    told = "the package ark 1.0 and the package zoo 1.0 both offer 'zoo_grpo' in lightrft.algorithms: uninstall one"
    assert any(told in problem for problem in problems(of_the_zoo))


@pytest.mark.usefixtures("zoo")
def test_a_format_that_makes_no_rows_of_them_costs_the_rows(of_the_zoo: dict[str, Any]) -> None:
    from lightrft_strategy.data import PromptDataError, PromptSpec, load_prompts

    source = of_the_zoo["prompt_data"].replace("addends:", "listed:")
    with pytest.raises(PromptDataError, match="row 1: the format listed makes a list of it, not a dict"):
        load_prompts(PromptSpec(source), None)


def test_help_and_completion_load_neither_torch_nor_the_package(zoo: Path) -> None:
    program = (
        "import sys; from lightrft_apps.main import main\n"
        "for words in (['rl', '--help'], ['compare', '--help'], ['completion', 'bash']):\n"
        "    sys.argv = ['lightrft', *words]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'zoo'} & set(sys.modules), 'loaded'\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "{embedded,vllm,sglang}" in ran.stdout


def problems(flat: dict[str, Any]) -> list[str]:
    """All that is told of these flags, in parsing or in checking them."""
    from lightrft_apps.config import ConfigError, RLConfig, check

    try:
        return check(RLConfig.create(**flat))
    except ConfigError as error:
        return list(error.problems)

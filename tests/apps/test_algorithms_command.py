"""`lightrft algorithms`: every row of the table, its pieces as flags name them, and what overrides them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.commands.algorithms import PIECES
from lightrft_apps.config import RLConfig
from lightrft_apps.config.reading.schema import fields_of
from lightrft_core import ADVANTAGE_ESTIMATORS, ALGORITHMS, OBJECTIVES, Algorithm

Command = Callable[..., Any]


def test_every_row_is_there_with_its_paper_within_120_columns(lightrft: Command) -> None:
    ended = lightrft("algorithms")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 120
    for name, row in ALGORITHMS.items():
        (at,) = [number for number, line in enumerate(lines) if line.split()[:1] == [name] and line[0] != " "]
        assert str(row.aggregation) in lines[at]
        assert f"{row.paper}, {row.equations}" in lines[at + 1]


def test_further_pieces_stand_beside_the_paper(lightrft: Command) -> None:
    shown = lightrft("algorithms").out
    assert "+ high-entropy share 0.2  + dynamic sampling  + overlong share 0.2\n" in shown
    assert "+ drift 0.01\n" in shown
    assert "+ critic (GAE decay 0.95)  + whitening\n" in shown


def test_the_footer_names_the_flags_of_every_piece(lightrft: Command) -> None:
    footer = lightrft("algorithms").out.split("\n\n", 1)[1]
    for piece in PIECES:
        assert re.search(rf"^  {re.escape(piece.name)}  +{', '.join(piece.flags)}$", footer, re.MULTILINE)
    assert "Token-Level Policy is --loss_agg_mode token-mean" in footer
    assert "clip-higher is --eps_clip_low_high" in footer


def test_every_flag_it_names_exists(lightrft: Command) -> None:
    mentioned = set(re.findall(r"--(\w+)", lightrft("algorithms").out + lightrft("algorithms", "ppo").out))
    assert mentioned - {"algorithm"} <= fields_of(RLConfig).keys()


@pytest.mark.parametrize(
    "flags",
    [
        {"advantage_estimator": "rloo"},
        {"advantages_norm": True},
        {"policy_loss_type": "gspo"},
        {"loss_agg_mode": "seq-mean-token-sum"},
        {"eps_clip": 0.1},
        {"eps_clip_low_high": (0.1, 0.3)},
        {"dual_clip": 3.0},
        {"drift_coef": 0.5},
        {"high_entropy_token_ratio": 0.5},
        {"init_kl_coef": 0.5},
        {"init_kl_coef": 0.5, "kl_estimator": "k2"},
        {"init_kl_coef": 0.5, "use_kl_loss": False},
        {"entropy_coef": 0.5},
        {"gamma": 0.5},
        {"advantage_estimator": "gae"},
        {"advantage_estimator": "gae", "lambd": 0.5},
        {"advantage_estimator": "gae", "value_clip": 0.5},
        {"dynamic_sampling": False},
    ],
    ids=" ".join,
)
def test_the_flags_it_names_change_the_piece_they_are_named_for(flags: dict[str, Any]) -> None:
    from lightrft_apps.config.algorithm import build_algorithm

    def row(**given: Any) -> Algorithm:
        names = {"algorithm": "dapo", "pretrain": "m", "prompt_data": "p", "output_dir": "o"}
        return build_algorithm(RLConfig.create(**names | given))

    *others, flag = flags
    (named,) = [piece for piece in PIECES if f"--{flag}" in piece.flags]
    assert named.value(row(**flags)) != named.value(row(**{name: flags[name] for name in others}))


def test_one_row_is_shown_in_full_with_a_command_to_run_it(lightrft: Command) -> None:
    shown = lightrft("algorithms", "dapo").out
    assert shown.startswith("dapo: Decoupled Clip and Dynamic Sampling Policy Optimization\n")
    assert "https://arxiv.org/abs/2503.14476" in shown
    assert re.search(r"^clip +0\.2 0\.28 +--eps_clip, --eps_clip_low_high$", shown, re.MULTILINE)
    assert re.search(r"^overlong share +0\.2 +--overlong_buffer, --overlong_buffer_len$", shown, re.MULTILINE)
    assert "  lightrft rl --algorithm dapo --pretrain" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_the_example_is_a_configuration_that_works(lightrft: Command, flags: dict[str, Any], tmp_path: Path) -> None:
    example = lightrft("algorithms", "gmpo").out.split("  lightrft rl ")[1]
    words = example.replace("\\\n", " ").replace("MODEL", flags["pretrain"]).split()
    words[words.index("prompts.jsonl")] = flags["prompt_data"]
    ended = lightrft("rl", *words, "--print_config")
    assert ended.code == 0
    assert "algorithm: gmpo\n" in ended.out


def test_json_has_every_row_by_the_names_flags_give_its_pieces(lightrft: Command) -> None:
    rows = json.loads(lightrft("algorithms", "--json").out)
    assert list(rows) == list(ALGORITHMS)
    for name, row in ALGORITHMS.items():
        assert ADVANTAGE_ESTIMATORS[rows[name]["advantage"]] is row.estimator
        assert OBJECTIVES[rows[name]["objective"]] is row.objective
        assert (rows[name]["title"], rows[name]["average"]) == (row.title, row.aggregation)
        assert (rows[name]["kl"] or {"coefficient": 0})["coefficient"] == row.kl_coef
    assert json.loads(lightrft("algorithms", "dapo", "--json").out) == rows["dapo"]
    assert rows["dapo"]["clip"] == {"low": 0.2, "high": 0.28}
    assert rows["rloo"]["clip"] is None


def test_an_unknown_name_ends_with_2_the_nearest_and_all_names(lightrft: Command) -> None:
    ended = lightrft("algorithms", "dapoo")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(
        "lightrft algorithms: there is no algorithm 'dapoo'; did you mean dapo? There are grpo,"
    )
    assert all(name in ended.err for name in ALGORITHMS)

"""`lightrft algorithms`: the table of named algorithms, and which flag overrides which piece of a row."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightrft_apps.config.errors import ConfigError

if TYPE_CHECKING:
    from lightrft_core import Algorithm

EXAMPLES = """\
examples:
  lightrft algorithms                what there is
  lightrft algorithms dapo           one row, piece by piece
  lightrft algorithms dapo --json    the same for programs
  lightrft rl --algorithm dapo --pretrain MODEL --prompt_data prompts.jsonl --rule_reward number \\
      --output_dir runs/dapo
"""

FOOTER = """\
Clip: how far the probability ratio may fall below 1, and rise above it (gmpo: its logarithm, around 0).
Any flag of `lightrft rl` overrides a piece of a row, whichever --algorithm is named:
"""

NAMED = """\
Token-Level Policy is --loss_agg_mode token-mean; clip-higher is --eps_clip_low_high, such as 0.2 0.28.
`lightrft algorithms NAME` shows a row in full; `lightrft compare` trains several side by side.
"""


ITS_OWN = "its own"
"""How a piece is written that no flag names, such as another package's."""


@dataclass(frozen=True)
class Piece:
    """One piece of an algorithm: how a row's is written ("-": it has none), and the flags that override it."""

    name: str
    value: Callable[[Algorithm], str]
    flags: tuple[str, ...]


def main(argv: Sequence[str]) -> None:
    """Run `lightrft algorithms` with these words."""
    parser = argparse.ArgumentParser(
        prog="lightrft algorithms",
        description="The algorithms that --algorithm names, each with its paper's defaults.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="show this row in full")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    args = parser.parse_args(argv)
    from lightrft_apps.config.known_algorithms import (  # imports torch, which --help does not wait for
        algorithm_names,
        unknown_algorithm,
    )

    known = algorithm_names()
    if args.name is not None and args.name not in known:
        sys.stderr.write(f"lightrft algorithms: {unknown_algorithm(args.name, known)}\n")
        raise SystemExit(2)
    found = _found(known if args.name is None else [args.name])
    if args.name is not None and not found:
        raise SystemExit(2)
    if args.json:
        rows = {name: described(name, row) for name, row in found.items()}
        shown = rows if args.name is None else rows[args.name]
        sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(table(found) if args.name is None else in_full(args.name, found[args.name]))


def _found(names: Sequence[str]) -> dict[str, Algorithm]:
    """Their rows; of one that cannot be used is told why."""
    from lightrft_apps.config.known_algorithms import find_algorithm

    found = {}
    for name in names:
        try:
            found[name] = find_algorithm(name)
        except ConfigError as error:
            sys.stderr.write(f"lightrft algorithms: {error}\n")
    return found


def table(algorithms: Mapping[str, Algorithm]) -> str:
    """Every row on two lines: its pieces, then where it is published and what else it has."""
    head = ("name", "advantage", "objective", "average", "clip", "KL: weight, kind, place")
    rows = [
        (name, advantage_name(row), objective_name(row), str(row.aggregation), _clip(row), _divergence(row))
        for name, row in algorithms.items()
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [_columns(head, widths), "-" * (sum(widths) + 2 * (len(widths) - 1))]
    for cells, row in zip(rows, algorithms.values(), strict=True):
        more = "".join(f"  + {piece}" for piece in _further(row))
        lines += [_columns(cells, widths), f"    {_source(row)}{more}"]
    overrides = [f"  {piece.name:<24}{', '.join(piece.flags)}" for piece in PIECES]
    return "\n".join([*lines, "", FOOTER + "\n".join(overrides), "", NAMED])


def in_full(name: str, row: Algorithm) -> str:
    """One row, piece by piece, each with the flags that override it, and how to run it."""
    pieces = [(piece.name, piece.value(row), ", ".join(piece.flags)) for piece in PIECES]
    head = ("piece", name, "overridden by")
    widths = [max(map(len, column)) for column in zip(head, *pieces, strict=True)]
    link = f"https://arxiv.org/abs/{row.paper}" if _on_arxiv(row) else ""
    return "\n".join(
        [
            f"{name}: {row.title}",
            f"{_source(row)}  {link}".rstrip(),
            "",
            _columns(head, widths),
            "-" * (sum(widths) + 2 * (len(widths) - 1)),
            *(_columns(piece, widths) for piece in pieces),
            "",
            "examples:",
            f"  lightrft quickstart --algorithm {name}",
            f"  lightrft rl --algorithm {name} --pretrain MODEL --prompt_data prompts.jsonl --rule_reward number \\",
            f"      --output_dir runs/{name}",
            "",
        ]
    )


def described(name: str, row: Algorithm) -> dict[str, Any]:
    """One row for programs: values as they are, null for pieces it does not have."""
    sampling = row.dynamic_sampling
    return {
        "name": name,
        "title": row.title,
        "paper": row.paper,
        "equations": row.equations,
        "advantage": advantage_name(row),
        "critic": row.estimator.critic,
        "whitening": row.estimator.whiten,
        "objective": objective_name(row),
        "average": str(row.aggregation),
        "clip": {"low": row.bounds.low, "high": row.bounds.high} if _clips(row) else None,
        "dual_clip": row.bounds.dual,
        "drift": row.drift_coef or None,
        "high_entropy_share": row.high_entropy_share if row.high_entropy_share < 1 else None,
        "kl": {"coefficient": row.kl_coef, "estimator": row.kl_estimator, "placement": str(row.kl_placement)}
        if row.kl_coef
        else None,
        "discount": row.gamma,
        "gae_decay": row.lambd if row.estimator.critic else None,
        "value_clip": row.value_clip if row.estimator.critic else None,
        "dynamic_sampling": sampling and {"low": sampling.low, "high": sampling.high, "rounds": sampling.max_rounds},
        "overlong_share": row.shaping.overlong_share or None,
        "overridden_by": {piece.name: list(piece.flags) for piece in PIECES},
    }


def advantage_name(row: Algorithm) -> str:
    """The row's advantage estimator, as --advantage_estimator names it if it does."""
    from lightrft_core import ADVANTAGE_ESTIMATORS

    return next((name for name, estimator in ADVANTAGE_ESTIMATORS.items() if estimator is row.estimator), ITS_OWN)


def objective_name(row: Algorithm) -> str:
    """The row's objective, as --policy_loss_type names it if it does."""
    from lightrft_core import OBJECTIVES

    return next((name for name, objective in OBJECTIVES.items() if objective is row.objective), ITS_OWN)


def _columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _on_arxiv(row: Algorithm) -> bool:
    return row.paper.replace(".", "").isdigit()


def _source(row: Algorithm) -> str:
    return f"{'arXiv ' if _on_arxiv(row) else ''}{row.paper}, {row.equations}"


def _clips(row: Algorithm) -> bool:
    from lightrft_core import policy_gradient

    return row.objective is not policy_gradient


def _clip(row: Algorithm) -> str:
    return f"{row.bounds.low:g} {row.bounds.high:g}" if _clips(row) else "-"


def _divergence(row: Algorithm) -> str:
    return f"{row.kl_coef:g} {row.kl_estimator} {row.kl_placement}" if row.kl_coef else "-"


def _further(row: Algorithm) -> list[str]:
    there = {
        f"dual clip {row.bounds.dual}": row.bounds.dual is not None,
        f"drift {row.drift_coef:g}": row.drift_coef != 0,
        f"high-entropy share {row.high_entropy_share:g}": row.high_entropy_share < 1,
        "dynamic sampling": row.dynamic_sampling is not None,
        f"overlong share {row.shaping.overlong_share:g}": row.shaping.overlong_share != 0,
        f"critic (GAE decay {row.lambd:g})": row.estimator.critic,
        "whitening": row.estimator.whiten,
    }
    return [piece for piece, present in there.items() if present]


def _if(present: bool, text: str) -> str:
    return text if present else "-"


PIECES = (
    Piece("advantage", advantage_name, ("--advantage_estimator",)),
    Piece("whitening", lambda row: _if(row.estimator.whiten, "yes"), ("--advantages_norm",)),
    Piece("objective", objective_name, ("--policy_loss_type",)),
    Piece("average", lambda row: str(row.aggregation), ("--loss_agg_mode",)),
    Piece("clip", _clip, ("--eps_clip", "--eps_clip_low_high")),
    Piece("dual clip", lambda row: _if(row.bounds.dual is not None, str(row.bounds.dual)), ("--dual_clip",)),
    Piece("drift", lambda row: _if(row.drift_coef != 0, f"{row.drift_coef:g}"), ("--drift_coef",)),
    Piece(
        "high-entropy share",
        lambda row: _if(row.high_entropy_share < 1, f"{row.high_entropy_share:g}"),
        ("--high_entropy_token_ratio",),
    ),
    Piece("KL weight", lambda row: f"{row.kl_coef:g}", ("--init_kl_coef", "--kl_target")),
    Piece(
        "KL kind (estimator)",
        lambda row: _if(row.kl_coef != 0, row.kl_estimator),
        ("--kl_estimator", "--kl_unbiased_gradient"),
    ),
    Piece("KL place", lambda row: _if(row.kl_coef != 0, str(row.kl_placement)), ("--use_kl_loss",)),
    Piece("entropy bonus", lambda row: _if(row.entropy_coef != 0, f"{row.entropy_coef:g}"), ("--entropy_coef",)),
    Piece("discount", lambda row: f"{row.gamma:g}", ("--gamma",)),
    Piece("critic", lambda row: _if(row.estimator.critic, "yes"), ("--advantage_estimator gae",)),
    Piece("GAE decay", lambda row: _if(row.estimator.critic, f"{row.lambd:g}"), ("--lambd",)),
    Piece("value clip", lambda row: _if(row.estimator.critic, f"{row.value_clip:g}"), ("--value_clip",)),
    Piece("dynamic sampling", lambda row: _if(row.dynamic_sampling is not None, "yes"), ("--dynamic_sampling",)),
    Piece(
        "overlong share",
        lambda row: _if(row.shaping.overlong_share != 0, f"{row.shaping.overlong_share:g}"),
        ("--overlong_buffer", "--overlong_buffer_len"),
    ),
)
"""In the order of the footer and of a row in full."""

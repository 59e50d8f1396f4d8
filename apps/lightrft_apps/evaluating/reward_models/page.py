"""An evaluation of reward models as one page of HTML that needs nothing else: no network, no scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lightrft_apps.drawing.svg import legible
from lightrft_apps.evaluating.reward_models.picture import margins_picture, picture, reliability_picture
from lightrft_apps.evaluating.reward_models.rows import ALL, Row, number, percent, rows_of, share

STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 1080px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 0.6em 0 1.2em; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25em 0.7em; text-align: right; vertical-align: top; }
th:first-child, td:first-child, td.text { text-align: left; }
td.text { white-space: pre-wrap; overflow-wrap: anywhere; max-width: 22em; }
svg { max-width: 100%; height: auto; } .side { display: flex; flex-wrap: wrap; gap: 1em; } .small { color: #666; }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page may load nothing and run nothing, whatever the texts in it say."""

COLUMNS = ("", "accuracy (95% interval)", "ties as half", "pairs", "score ties", "label ties", "AUC", "ECE", "failed")


def page(found: Mapping[str, Any]) -> str:
    """report.html."""
    data = found["data"]
    rows = list(rows_of(found))
    parts = [
        "<h1>Agreement of reward models with people</h1>",
        f"<p>{data['comparisons']} comparisons of {data['answers']} answers from {_listed(data['sources'])}; "
        f"{data['rejected_rows']} rows rejected. Of pairs that people found unequal, "
        f"{'none were' if data['better_first'] is None else format(data['better_first'], '.1%')} shown with the better "
        "answer first.</p>",
        picture(found),
    ]
    for model in found["models"]:
        parts.append(f"<h2>{_text(model['name'])}</h2><p class='small'>{_text(model['folder'])}</p>")
        for label in model["measures"]:
            own = [row for row in rows if (row.model, row.label) == (model["name"], label)]
            parts += [f"<h3>{_text(label)}</h3>", *_measured(own)]
        parts += [*_failures(model["errors"]), *_worst(model["worst"])]
    settings = json.dumps(found["config"], indent=1) + "\n" + json.dumps(found["environment"], indent=1)
    parts.append(f"<h2>Settings</h2><pre>{_text(settings)}</pre>")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>Agreement of reward models with people</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _measured(rows: Sequence[Row]) -> Iterable[str]:
    whole = rows[0]
    measures = whole.measures
    yield _table(COLUMNS, [_agreement(row) for row in rows])
    sure = reliability_picture(whole) if measures["calibration"] else ""
    margins = margins_picture(whole) if measures["margins"] else ""
    yield f"<div class='side'>{sure}{margins}</div>"
    facts = [*_three_way(measures), *_calibration(measures), *_length(measures), *_position(measures)]
    facts += [*_refusals(measures), *_graded(measures)]
    if facts:
        yield _table(("of all sources together", ""), facts)


def _agreement(row: Row) -> tuple[str, ...]:
    measures, agreement = row.measures, row.measures["agreement"]
    three_way, calibration = measures["three_way"], measures["calibration"]
    return (
        "all sources" if row.source == ALL else row.source,
        share(agreement["accuracy"]),
        percent(agreement["half_for_ties"]),
        str(agreement["pairs"]),
        str(agreement["score_ties"]),
        str(three_way["label_ties"] if three_way else 0),
        number(agreement["auc"]),
        number(calibration and calibration["error"]),
        str(measures["failed"]),
    )


def _three_way(measures: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if found := measures["three_way"]:
        limits = " and ".join(f"{limit:.3g}" for limit in found["thresholds"])
        yield f"better, worse or equal told rightly (equal: scores up to {limits} apart)", share(found["accuracy"])


def _calibration(measures: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if found := measures["calibration"]:
        yield "confidence less accuracy", f"{found['over_confidence']:+.3f}"
        yield "log loss in nats (0.693: always undecided)", number(found["log_loss"])
        yield "Brier score (0.25: always undecided)", number(found["brier"])


def _length(measures: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if found := measures["length"]:
        yield "accuracy where the better answer is shorter", share(found["accuracy_shorter"])
        yield "accuracy where the better answer is longer", share(found["accuracy_longer"])
        yield "scores the longer answer higher", share(found["chooses_longer"])
        yield "people prefer the longer answer, of the same pairs", share(found["people_choose_longer"])
        yield "correlation of margin with difference in length", number(found["margin_correlation"])
        yield "rank correlation of score with length", number(found["score_correlation"])


def _position(measures: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if found := measures["position"]:
        yield "prefers the answer at place 1", share(found["chooses_first"])
        yield "says the same in both orders", share(found["consistent"])
        yield "right in both orders", share(found["agreeing"])
        yield "right with the better answer at place 1", share(found["accuracy_first"])
        yield "right with the better answer at place 2", share(found["accuracy_second"])
        yield "askings, of them ties, failed", f"{found['askings']}, {found['ties']}, {found['failed']}"


def _refusals(measures: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if found := measures["refusals"]:
        yield "over-refusal: scores a refusal above a better answer", share(found["over_refusal"])
        yield "under-refusal: scores an answer above a better refusal", share(found["under_refusal"])
        if found["threshold"] is not None:
            yield f"safe answers scored below {found['threshold']:g}", share(found["condemned"])
            yield f"unsafe answers scored {found['threshold']:g} or more", share(found["passed"])


def _graded(measures: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if found := measures["ranking"]:
        yield "finds the best of three answers or more", share(found["best_found"])
        yield "Kendall's tau-b, mean of such comparisons", number(found["kendall"])
    if found := measures["grading"]:
        yield "Pearson correlation of scores with labels", number(found["pearson"])
        yield "Spearman correlation of scores with labels", number(found["spearman"])
        yield "mean |score - label|", number(found["mean_error"])


def _failures(errors: Sequence[Mapping[str, str]]) -> Iterable[str]:
    if errors:
        yield "<h3>Could not be judged</h3><p class='small'>the first few; they count as wrong</p>"
        yield _table(("row", "source", "why"), [(e["uid"], e["source"], e["error"]) for e in errors], texts=True)


def _worst(worst: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if worst:
        yield "<h3>Furthest from what people said</h3>"
        cells = [
            (one["uid"], one["label"], f"{one['margin']:.3f}", one["asked"], one["better"], one["worse"])
            for one in worst
        ]
        yield _table(("row", "label", "margin", "asked", "people preferred", "it preferred"), cells, texts=True)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: bool = False) -> str:
    kind = "td class='text'" if texts else "td"
    lines = ["".join(f"<th>{_text(cell)}</th>" for cell in head)]
    lines += ["".join(f"<{kind}>{_text(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _listed(sources: Mapping[str, int]) -> str:
    return _text(", ".join(f"{source} ({count})" for source, count in sources.items()))


def _text(words: str) -> str:
    return escape(legible(words))

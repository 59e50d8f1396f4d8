"""`lightrft eval-rm`: what reward models say of comparisons, measured once over all ranks, told without a trap."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from threading import Barrier, Lock, local
from typing import Any
from xml.etree import ElementTree

import pytest

from lightrft_apps.config import ConfigError, RanksArgs
from lightrft_apps.config.commands.eval_rm import JudgedModelsArgs, judged_heads, parse_eval_rm
from lightrft_apps.models.parallel import Together
from lightrft_core import OneRank
from lightrft_strategy.training.pulse import Pulse

Command = Callable[..., Any]

SCRIPT = "</script><script>alert(2)</script>"
TRAP = '<img src=x onerror=alert(1)> & "quoted" \']]>'
"""A file's name that would run in a page which believes it."""


WRITTEN = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "h1",
    "h2",
    "h3",
    "p",
    "div",
    "table",
    "tr",
    "th",
    "td",
    "pre",
}
DRAWN = {"svg", "rect", "text", "line", "circle", "polyline"}


def row(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


ROWS = [row(f"{i}+{i}=", str(2 * i), str(2 * i + 1) * (1 + i % 3)) for i in range(40)]
LABELLED = [
    {"prompt": "1+1=", "answers": ["2", "3"], "labels": {"helpful": [1, 0], "safe": [1, -1]}},
    {"prompt": "2+2=", "answers": ["4", "4 "], "labels": {"helpful": [1, 1], "safe": [-1, 1]}},
    {"prompt": SCRIPT, "answers": ["\x00<b>", "5"], "labels": {"helpful": [0, 1]}},
    {"prompt": "\ud800", "answers": ["1", "2"], "labels": {"helpful": [0, 1]}},
    {"prompt": "3+3=", "answers": ["6" * 90, "6"], "labels": {"helpful": [0, 1], "safe": [1, 1]}},
    {"prompt": "no answer at all"},
]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of two models on two files, as it was when it ended."""

    folder: Path
    out: str
    found: dict[str, Any]
    page: str

    @property
    def judged(self) -> list[dict[str, Any]]:
        return judged_in(self.folder)


def judged_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "judged.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def reward_folders(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model: Command) -> Path:
    """A folder with two reward models of random weights: one with a head, two with two uncertain heads."""
    from transformers import AutoTokenizer

    from lightrft_rewards.models.card import RewardCard
    from lightrft_rewards.models.loading import save_reward_model
    from lightrft_rewards.models.padding import set_padding_token
    from lightrft_rewards.models.reward_model import RewardModel

    folder = tmp_path_factory.mktemp("reward models")
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    set_padding_token(tokenizer, 32)
    for name, heads in (("one", ("score",)), ("two", ("helpful", "safe"))):
        model = RewardModel(tiny_model(vocab_size=32, eos_token_id=0), heads=heads, uncertain=len(heads) > 1)
        card = RewardCard(heads=heads, uncertain=len(heads) > 1, apply_chat_template=False, max_len=64)
        (folder / name).mkdir()
        save_reward_model(model, tokenizer, folder / name, card)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What --eval_data names: a file with traps and one of plain pairs."""
    place = tmp_path_factory.mktemp("data")
    pairs, labelled = place / "pairs.jsonl", place / f"{TRAP}.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    labelled.write_text("".join(json.dumps(row) + "\n" for row in LABELLED))
    return f"{labelled},{pairs}"


@pytest.fixture(scope="module")
def words(reward_folders: Path, data: str) -> list[str]:
    return [f"--reward_pretrain={reward_folders / 'one'},other={reward_folders / 'two'}", f"--eval_data={data}"]


@pytest.fixture(scope="module")
def evaluated(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    from lightrft_apps.commands.eval_rm import main

    folder = tmp_path_factory.mktemp("evaluation") / "out"
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
        main([*words, f"--output_dir={folder}"])
    page, found = (folder / "report.html").read_text(), json.loads((folder / "eval.json").read_text())
    return Evaluated(folder, out.getvalue(), found, page)


def accuracy(evaluated: Evaluated, model: int, label: str, source: str | None = None) -> tuple[float, int]:
    measures = evaluated.found["models"][model]["measures"][label]
    found = (measures["all"] if source is None else measures["sources"][source])["agreement"]["accuracy"]
    return found["value"], found["n"]


def test_scores_and_accuracy_are_those_that_transformers_gives(evaluated: Evaluated, reward_folders: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(reward_folders / "one")
    model = AutoModelForSequenceClassification.from_pretrained(reward_folders / "one")

    @torch.no_grad()
    def score(text: str) -> float:
        ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        return model(torch.tensor([ids])).logits.item()

    by_uid = {one["uid"]: one for one in evaluated.judged if one["model"] == "one" and one["source"] == "pairs.jsonl"}
    right = []
    for number, one in enumerate(ROWS, start=1):
        found = by_uid[f"pairs.jsonl:{number}"]
        chosen, rejected = score(one["prompt"] + one["chosen"]), score(one["prompt"] + one["rejected"])
        right.append(chosen > rejected)
        ordered = [chosen, rejected] if found["labels"] == [1.0, 0.0] else [rejected, chosen]
        assert found["scores"] == pytest.approx(ordered, abs=1e-4)
        lengths = [len(one["chosen"]), len(one["rejected"])]
        assert found["lengths"] == (lengths if found["labels"] == [1.0, 0.0] else lengths[::-1])
    assert accuracy(evaluated, 0, "score") == (pytest.approx(sum(right) / len(ROWS)), len(ROWS))
    assert {tuple(one["labels"]) for one in by_uid.values()} == {(1.0, 0.0), (0.0, 1.0)}


def test_a_label_goes_to_the_head_of_its_name_or_to_the_only_one(evaluated: Evaluated) -> None:
    one, two = evaluated.found["models"]
    assert set(one["measures"]) == {"helpful", "safe", "score"}
    assert set(two["measures"]) == {"helpful", "safe"}
    rows = {(row["model"], row["uid"].rpartition(":")[2], row["head"]): row for row in evaluated.judged}
    assert rows["one", "1", "helpful"]["scores"] == rows["one", "1", "safe"]["scores"]
    assert rows["other", "1", "helpful"]["scores"] != rows["other", "1", "safe"]["scores"]
    assert len(rows["other", "1", "safe"]["variances"]) == 2
    assert rows["one", "1", "safe"]["variances"] == []


def test_what_is_too_long_is_not_judged_and_counts_as_wrong(evaluated: Evaluated) -> None:
    for number, model in enumerate(evaluated.found["models"]):
        assert model["measures"]["helpful"]["all"]["failed"] == 1
        (error,) = model["errors"]
        assert error["uid"] == f"{TRAP}.jsonl:5"
        assert "takes 9" in error["error"]
        assert accuracy(evaluated, number, "helpful")[1] == 3
    assert "could not judge" in evaluated.out


def test_bad_rows_are_rejected_and_counted(evaluated: Evaluated) -> None:
    assert evaluated.found["data"]["rejected_rows"] == 2
    rejected = (evaluated.folder / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in rejected] == [4, 6]
    assert "44 comparisons of 88 answers, 2 rows rejected" in evaluated.out


def test_safety_is_measured_where_people_said_what_is_safe(evaluated: Evaluated) -> None:
    safe = evaluated.found["models"][1]["measures"]["safe"]["all"]["refusals"]
    assert (safe["condemned"]["n"], safe["passed"]["n"], safe["threshold"]) == (2, 2, 0.0)
    ties = evaluated.found["models"][0]["measures"]["helpful"]["all"]["three_way"]
    assert (ties["label_ties"], ties["pairs"]) == (1, 3)


class Page(HTMLParser):
    """All tags with their attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_runs_and_loads_nothing_whatever_rows_files_and_models_are_called(evaluated: Evaluated) -> None:
    from lightrft_apps.evaluating.reward_models.page import page
    from lightrft_apps.evaluating.reward_models.picture import picture

    hostile = f"{SCRIPT}{TRAP}\x00\ud800"
    renamed = json.loads(json.dumps(evaluated.found))
    model = renamed["models"][0] | {"name": hostile, "folder": hostile}
    model["measures"] = {hostile: model["measures"]["score"] | {"sources": {hostile: {}, "other": {}}}}
    for source in model["measures"][hostile]["sources"]:
        model["measures"][hostile]["sources"][source] = model["measures"][hostile]["all"]
    model["worst"] = [dict.fromkeys(model["worst"][0], hostile) | {"margin": -1.0}]
    model["errors"] = [dict.fromkeys(("uid", "source", "error"), hostile)]
    renamed["models"] = [model]
    ElementTree.fromstring(picture(renamed))
    for text in (evaluated.page, page(renamed)):
        read = Page()
        read.feed(text)
        assert {tag for tag, _ in read.tags} <= WRITTEN | DRAWN
        names = {name for _, attributes in read.tags for name in attributes}
        assert not {name for name in names if name.startswith("on")} | names & {"src", "href", "xlink:href", "action"}
        assert "url(" not in text
        assert "default-src 'none'" in text
        assert f"{TRAP}" in read.text
        assert not {"\x00", "\ud800"} & set(text)
    assert read.text.count(SCRIPT) >= 9


def test_the_page_has_the_numbers_of_the_file(evaluated: Evaluated) -> None:
    whole = evaluated.found["models"][0]["measures"]["score"]["all"]
    for share in (
        whole["agreement"]["accuracy"],
        whole["length"]["accuracy_shorter"],
        whole["length"]["chooses_longer"],
    ):
        low, high = share["interval"]
        assert f"{share['value']:.1%} ({low:.1%} to {high:.1%}, n = {share['n']})" in evaluated.page
    for number in (whole["agreement"]["auc"], whole["calibration"]["error"], whole["calibration"]["log_loss"]):
        assert f"<td>{number:.3f}</td>" in evaluated.page
    assert f"{accuracy(evaluated, 0, 'score')[0]:.1%}" in evaluated.out


def test_the_worst_are_the_pairs_scored_furthest_the_wrong_way_round(evaluated: Evaluated) -> None:
    worst = evaluated.found["models"][0]["worst"]
    margins = []
    for one in evaluated.judged:
        if one["model"] == "one" and one["scores"] and one["labels"][0] != one["labels"][1]:
            scores = one["scores"] if one["labels"][0] > one["labels"][1] else one["scores"][::-1]
            margins.append(scores[0] - scores[1])
    wrong = sorted(margin for margin in margins if margin < 0)
    assert [one["margin"] for one in worst] == pytest.approx(wrong[:10])
    (row,) = [one for one in worst if one["uid"] == worst[0]["uid"]]
    if row["source"] == "pairs.jsonl":
        told = ROWS[int(row["uid"].rpartition(":")[2]) - 1]
        assert (row["asked"], row["better"], row["worse"]) == (told["prompt"], told["chosen"], told["rejected"])


def test_the_picture_is_xml_with_a_row_for_each_model_label_and_source(evaluated: Evaluated) -> None:
    root = ElementTree.fromstring((evaluated.folder / "eval.svg").read_text())
    texts = [(text.text or "").strip() for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"one  helpful", "one  safe", "one  score", "other  helpful", "other  safe"} <= set(texts)


class Rank(OneRank):
    """One of three ranks in threads."""

    world_size = 3

    def __init__(self, rank: int, met: Barrier, brought: list[list[Any]]) -> None:
        self.rank, self.met, self.brought = rank, met, brought

    def gather(self, items: Any) -> list[Any]:
        self.brought[self.rank] = list(items)
        self.met.wait()
        together = [item for part in self.brought for item in part]
        self.met.wait()
        return together


def test_several_ranks_judge_each_comparison_once_and_find_the_same(
    evaluated: Evaluated, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightrft_apps.evaluating import reward_models as rm_evaluation

    met, place = Barrier(3, timeout=60), local()
    brought: list[list[Any]] = [[], [], []]

    @contextmanager
    def several(args: RanksArgs) -> Iterator[Together]:
        yield Together(Rank(place.rank, met, brought), Pulse())

    load, one_at_a_time = rm_evaluation.load_candidate, Lock()

    def load_candidate(*told: Any) -> Any:
        with one_at_a_time:  # transformers changes its own classes while it loads, for all threads of a process
            return load(*told)

    monkeypatch.setattr(rm_evaluation, "several", several)
    monkeypatch.setattr(rm_evaluation, "load_candidate", load_candidate)
    command = parse_eval_rm([*words, f"--output_dir={tmp_path}", "--no-progress"])

    def run(rank: int) -> dict[str, Any]:
        place.rank = rank
        found: dict[str, Any] = rm_evaluation.evaluate_reward_models(command)
        return found

    with ThreadPoolExecutor(3) as threads, redirect_stdout(io.StringIO()) as out:
        first, *others = threads.map(run, range(3))
    assert all(other == first for other in others)
    first = json.loads(json.dumps(first))
    alone, together = (
        evaluated.judged,
        [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()],
    )
    assert [(one["model"], one["uid"], one["head"]) for one in together] == [
        (one["model"], one["uid"], one["head"]) for one in alone
    ]
    for one, other in zip(together, alone, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-4)
    for here, there in zip(first["models"], evaluated.found["models"], strict=True):
        for label, measures in there["measures"].items():
            assert here["measures"][label]["all"]["agreement"] == measures["all"]["agreement"]
    assert out.getvalue().count("rows rejected") == 1


def test_answers_that_are_shown_have_no_length_and_a_word_for_each_medium() -> None:
    from lightrft_apps.evaluating.reward_models.answers import lengths_of, refusals_of, safe_of, shown
    from lightrft_rewards.preferences import Comparison
    from lightrft_strategy.data.parts import Medium

    image, said = Medium("image", {}, "its image"), "I cannot help with that."
    mixed = Comparison("a", (), ((image,), ("text",)), {"score": (1.0, 0.0)})
    written = Comparison("b", (), ((said,), ("te", "xt")), {"safe": (1.5, 0.0)})
    assert (shown(mixed.answers[0]), lengths_of(mixed), refusals_of(mixed), safe_of(mixed)) == ("[image]", (), (), ())
    assert (lengths_of(written), refusals_of(written), safe_of(written)) == ((24, 4), (True, False), (True, False))


def test_grades_that_a_judge_gives_are_not_taken_for_how_sure_it_is() -> None:
    from lightrft_apps.config.commands.eval_rm import ComparisonsArgs, EvalRMCommand
    from lightrft_apps.evaluating.reward_models.results import JudgedBy, results
    from lightrft_rewards.evaluation import JudgedComparison
    from lightrft_rewards.preferences import LoadedComparisons

    command = EvalRMCommand(models=JudgedModelsArgs("scores,grades"), data=ComparisonsArgs("x"))
    said = [JudgedComparison("row:1", "score", (1.0, 0.0), (4.0, 2.0))]
    judged = {"scores": JudgedBy("scalar", said), "grades": JudgedBy("generative", said)}
    scores, grades = results(command, LoadedComparisons(), judged)["models"]
    assert scores["measures"]["score"]["all"]["calibration"]["bins"]
    assert grades["measures"]["score"]["all"]["calibration"] is None


class Voice:
    """An engine that answers every prompt with the same words."""

    def __init__(self, words: str) -> None:
        self.words, self.asked = words, 0

    def generate(self, prompts: Sequence[Any], sampling: Any, *, step: int) -> list[Any]:
        from lightrft_core import FinishReason, Group, Rollout

        self.asked += len(prompts)
        said = Rollout(0, [1], [0.0], [True], FinishReason.STOP, self.words)
        return [Group(prompt, [said]) for prompt in prompts]


def asked_about(engine: Voice, rows: Sequence[dict[str, Any]], tiny_folder: Path, tmp_path: Path) -> Any:
    from transformers import AutoTokenizer

    from lightrft_apps.evaluating.reward_models.asking import judged_by_asking
    from lightrft_rewards.models.judges import JudgeForm, JudgeWriter
    from lightrft_rewards.preferences import load_comparisons

    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    form = JudgeForm(apply_chat_template=False, heads=("better",), max_len=1000)
    writer = JudgeWriter(AutoTokenizer.from_pretrained(tiny_folder), form=form)
    comparisons = load_comparisons(str(tmp_path / "rows.jsonl"), seed=0).comparisons
    counts: list[int] = []
    judged = judged_by_asking(engine, writer, comparisons, {"score": "better"}, counts.append)  # type: ignore[arg-type]
    assert sum(counts) == len(comparisons)
    return judged


def test_the_temperature_of_a_model_goes_with_its_scores(reward_folders: Path, tmp_path: Path) -> None:
    from lightrft_apps.evaluating.reward_models import evaluate_reward_models

    folder = tmp_path / "warm"
    shutil.copytree(reward_folders / "one", folder)
    card = json.loads((folder / "reward_model.json").read_text())
    (folder / "reward_model.json").write_text(json.dumps(card | {"temperature": 4.0}))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:3]))
    models = f"--reward_pretrain=cold={reward_folders / 'one'},warm={folder}"
    words = [models, f"--eval_data={tmp_path / 'pairs.jsonl'}", f"--output_dir={tmp_path / 'out'}", "--no-progress"]
    found = evaluate_reward_models(parse_eval_rm(words))
    cold, warm = (model["measures"]["score"]["all"]["calibration"] for model in found["models"])
    assert cold["log_loss"] != warm["log_loss"]
    by_model = {one["model"]: one for one in judged_in(tmp_path / "out")}
    assert (by_model["cold"]["temperature"], by_model["warm"]["temperature"]) == (1.0, 4.0)
    assert by_model["cold"]["scores"] == by_model["warm"]["scores"]


def test_a_judge_is_asked_about_both_orders_and_found_out_if_it_goes_by_places(
    tiny_folder: Path, tmp_path: Path
) -> None:
    from lightrft_rewards.evaluation import measure

    engine = Voice("<answer>Answer 1 is better</answer>")
    judged = asked_about(engine, ROWS, tiny_folder, tmp_path)
    assert engine.asked == 2 * len(ROWS)
    assert {one.head for one in judged} == {"score"}
    found = measure(judged)
    assert found.position is not None
    assert found.agreement.accuracy is not None
    assert (found.position.chooses_first.value, found.position.consistent.value) == (1.0, 0.0)
    assert (found.agreement.accuracy.value, found.agreement.score_ties) == (0.0, len(ROWS))
    assert found.calibration is None


def test_a_judge_that_cannot_be_read_or_asked_has_judged_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    rows = [*ROWS[:3], row("1+1=", "2" * 2000, "3")]
    judged = asked_about(Voice("who knows"), rows, tiny_folder, tmp_path)
    assert len(judged) == 4
    assert all(one.error and not one.scores for one in judged)
    assert "more than --max_len 1000" in judged[-1].error


def test_a_folder_with_a_judge_json_is_asked(
    lightrft: Command, tiny_folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from lightrft_rewards.models.judges import JudgeForm

    judge = tmp_path / "judge"
    shutil.copytree(tiny_folder, judge)
    JudgeForm(apply_chat_template=False, generate_max_len=4).write(judge)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:3]))
    ended = lightrft("eval-rm", reward_pretrain=judge, eval_data=tmp_path / "rows.jsonl", output_dir=tmp_path / "out")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out" / "eval.json").read_text())["models"][0]
    position = found["measures"]["score"]["all"]["position"]
    assert (found["kind"], position["askings"], position["failed"]) == ("generative", 6, 6)
    assert "says the same in both orders" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.proof
def test_launched_processes_judge_each_comparison_once(evaluated: Evaluated, words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lightrft_apps", "launch", "--nproc_per_node", "2", "eval-rm", *words]
    command.append(f"--output_dir={tmp_path}")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    subprocess.run(
        [*command, f"--output_dir={tmp_path}"], env=environment, check=True, timeout=240, capture_output=True
    )
    together = judged_in(tmp_path)
    assert [one["uid"] for one in together] == [one["uid"] for one in evaluated.judged]
    assert [one["error"] for one in together] == [one["error"] for one in evaluated.judged]
    found = json.loads((tmp_path / "eval.json").read_text())
    for here, there in zip(found["models"], evaluated.found["models"], strict=True):
        for label, measures in there["measures"].items():
            assert here["measures"][label]["all"]["agreement"] == measures["all"]["agreement"]


def test_labels_may_be_compared_with_heads_of_other_names(reward_folders: Path) -> None:
    from lightrft_apps.evaluating.reward_models.scoring import heads_by_label

    assert judged_heads(JudgedModelsArgs("x", heads="safe=harmless, helpful")) == {"safe": "harmless", "helpful": None}
    two = ("helpful", "harmless")
    assert heads_by_label(two, ("helpful", "safe"), None, "rm") == {"helpful": "helpful"}
    assert heads_by_label(two, ("safe",), {"safe": "harmless"}, "rm") == {"safe": "harmless"}
    assert heads_by_label(("score",), ("a", "b"), None, "rm") == {"a": "score", "b": "score"}
    for labels, wanted, complaint in (
        (("score",), None, "it has the heads helpful, harmless, and the labels are score"),
        (("safe",), {"safe": None}, "it has no head safe"),
        (("safe",), {"safe": "kind"}, "it has no head kind"),
        (("safe",), {"score": "helpful"}, "no row has the label score: there are safe"),
    ):
        with pytest.raises(ConfigError, match=re.escape(complaint)):
            heads_by_label(two, labels, wanted, "rm")
    for flag in ("safe,safe=x", "a,,b", "=x"):
        with pytest.raises(ConfigError, match="--heads"):
            judged_heads(JudgedModelsArgs("x", heads=flag))


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"eval_data": "pairs.jsonl"}, "--reward_pretrain is needed"),
        ({"reward_pretrain": "./nowhere", "eval_data": "x/y"}, "--reward_pretrain ./nowhere: there is no such file"),
        ({"reward_pretrain": "org/rm", "eval_data": "./no.jsonl"}, "--eval_data ./no.jsonl: there is no such file"),
        ({"reward_pretrain": "org/rm", "eval_data": "hpd:x.json"}, "there is no handler of preference data 'hpd'"),
        (
            {"reward_pretrain": "org/rm", "eval_data": "x/y", "tie_threshold": -1},
            "--tie_threshold -1.0: set it to 0 or",
        ),
        ({"reward_pretrain": "org/rm", "eval_data": "x/y", "safe_threshold": "nan"}, "--safe_threshold nan: expected"),
    ],
    ids=str,
)
def test_what_cannot_be_evaluated_is_refused_before_anything_is_loaded(
    flags: dict[str, Any], complaint: str, lightrft: Command
) -> None:
    ended = lightrft("eval-rm", **flags)
    assert ended.code == 2
    assert f"lightrft eval-rm: {complaint}" in ended.err


def test_a_process_reward_model_is_refused(lightrft: Command, reward_folders: Path, data: str, tmp_path: Path) -> None:
    shutil.copytree(reward_folders / "one", tmp_path / "steps")
    card = tmp_path / "steps" / "reward_model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"process": True}))
    ended = lightrft("eval-rm", reward_pretrain=tmp_path / "steps", eval_data=data)
    assert ended.code == 1
    assert "judges the steps of answers" in ended.err


def test_a_folder_that_is_no_reward_model_is_told_in_a_line(lightrft: Command, tiny_folder: Path, data: str) -> None:
    ended = lightrft("eval-rm", reward_pretrain=tiny_folder, eval_data=data)
    assert ended.code == 1
    assert "--reward_pretrain" in ended.err
    assert "is no reward model that can be read" in ended.err

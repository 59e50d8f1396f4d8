"""The page in a browser: what is clicked is shown, and colours carry the numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lightrft_apps.reporting.writing import write_report

Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def run(write_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "first", steps=3, prompts=20, answers=4)
    write_report([folder], folder / "report.html")
    return folder


def rows(run: Path, step: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(run / "trajectories" / f"step_{step:06d}.parquet").to_pylist()
    return found


def settle(page: Any) -> None:
    page.wait_for_selector("#count[data-done]")


def count(page: Any) -> str:
    settle(page)
    return str(page.inner_text("#count"))


def test_a_token_has_the_colour_of_its_number_in_every_mode(run: Path, visit: Visit) -> None:
    page = visit(run / "report.html", "#view=answers&step=2")
    settle(page)
    row = rows(run, 2)[0]
    trainer = [None if a is None else a - b for a, b in zip(row["trainer_logprobs"], row["logprobs"], strict=True)]
    numbers = {"advantage": row["advantages"], "ratio": row["ratios"], "entropy": row["entropy"], "gap": trainer}
    assert "".join(row["pieces"]) == "".join(page.locator(".answer").first.locator(".t").all_text_contents())
    for mode, expected in numbers.items():
        page.click(f"[data-mode={mode}]")
        settle(page)
        scale = page.locator(".legend .number").last.inner_text()
        limit = float(re.sub(r"[^\d.e-]", "", scale.replace("\N{MINUS SIGN}", "-")))
        found = (
            page.locator(".answer")
            .first.locator(".t")
            .evaluate_all("nodes => nodes.map((node) => getComputedStyle(node).backgroundColor)")
        )
        for number, colour in zip(expected, found, strict=True):
            red, green, blue, alpha = channels(colour)
            if number is None:
                assert alpha == 0
                continue
            place = math.log2(number) / math.log2(limit) if mode == "ratio" else number / limit
            assert alpha == pytest.approx(0.72 * min(1, abs(place)), abs=0.01), (mode, number, colour)
            if alpha > 0.02:
                above = (125, 70, 180) if mode == "entropy" else (0, 114, 178)
                assert (red, green, blue) == (above if place >= 0 else (213, 94, 0)), (mode, number)


def channels(colour: str) -> tuple[float, float, float, float]:
    numbers = [float(number) for number in re.findall(r"[\d.]+", colour)]
    red, green, blue, alpha = [*numbers, 1.0][:4]
    return red, green, blue, alpha


def test_the_mask_tells_what_was_learnt_from(run: Path, visit: Visit) -> None:
    page = visit(run / "report.html", "#view=answers&step=1&colour=mask")
    settle(page)
    row = rows(run, 1)[0]
    found = page.locator(".answer").first.locator(".t").evaluate_all("nodes => nodes.map((node) => node.dataset.mask)")
    assert found == ["foreign" if number is None else "learnt" for number in row["advantages"]]


def test_filters_and_sorting_show_the_answers_they_name(run: Path, visit: Visit) -> None:
    page = visit(run / "report.html", "#view=answers&step=1")
    assert count(page) == "80 answers to 20 prompts"
    first = rows(run, 1)
    wrong = sum(row["accuracy"] == 0 for row in first)
    for name, expected in {"truncated": 20, "formed": wrong, "right": 80 - wrong, "failed": 0, "gap": 8}.items():
        page.select_option("select[aria-label=show]", name)
        assert count(page).startswith(f"{expected} answer"), name
    page.select_option("select[aria-label=show]", "all")
    page.select_option("select[aria-label='sort by']", "longest")
    settle(page)
    longest = max(first, key=lambda row: len(row["token_ids"]))
    assert page.locator(".group h2").first.inner_text() == longest["prompt_uid"]


def test_words_are_found_in_prompts_and_answers_of_all_steps(run: Path, visit: Visit) -> None:
    page = visit(run / "report.html", "#view=answers&step=all")
    page.fill("#find", "WHAT IS 7 +")
    page.press("#find", "Enter")
    page.wait_for_selector("#count[data-done]:has-text('match')")
    assert count(page) == "12 answers match, to 3 prompts"


def test_the_same_prompt_is_followed_across_steps_and_back(run: Path, visit: Visit) -> None:
    page = visit(run / "report.html", "#view=answers&step=3")
    settle(page)
    page.locator(".across").first.click()
    page.wait_for_selector("#leave-prompt")
    assert count(page) == "12 answers to 3 prompts"
    whens = page.locator(".group-head .fact:nth-child(2)").all_text_contents()
    assert whens == ["step 1", "step 2", "step 3"]
    page.click("#leave-prompt")
    page.wait_for_selector("select[aria-label=step]")
    assert count(page) == "80 answers to 20 prompts"


def test_keys_walk_through_answers_steps_pages_and_colours_and_the_address_remembers(run: Path, visit: Visit) -> None:
    page = visit(run / "report.html", "#view=answers&step=1")
    settle(page)
    for key in "jj":
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.answer") == "1"
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.dataset.answer") == "0"
    for key in "]nc":
        page.keyboard.press(key)
        settle(page)
    address = page.evaluate("location.hash")
    assert {"step=2", "page=2", "colour=ratio"} <= {*address.removeprefix("#").split("&")}
    again = visit(run / "report.html", address)
    settle(again)
    assert again.inner_text(".pager span") == "page 2 of 4"
    assert again.get_attribute("[data-mode=ratio]", "aria-pressed") == "true"


def test_a_token_tells_all_its_numbers_when_it_is_pointed_at(run: Path, visit: Visit) -> None:
    page = visit(run / "report.html", "#view=answers&step=1")
    settle(page)
    row = rows(run, 1)[0]
    place = next(i for i, number in enumerate(row["advantages"]) if number is not None and row["pieces"][i].strip())
    page.locator(".answer").first.locator(".t").nth(place).hover()
    page.wait_for_selector("#hint:not([hidden])")
    told = dict(zip(*[iter(re.split(r"\n", page.inner_text("#hint"))[1:])] * 2, strict=True))
    for name, column in {"ratio": "ratios", "entropy": "entropy", "log-prob, trainer": "trainer_logprobs"}.items():
        assert float(told[name].replace("\N{MINUS SIGN}", "-")) == pytest.approx(row[column][place], rel=2e-3, abs=2e-3)
    assert told["token"] == f"{row['token_ids'][place]}, number {place}"


def test_seeds_are_a_mean_in_a_band_and_their_answers_can_be_chosen(
    tmp_path: Path, write_run: Callable[..., Path], visit: Visit
) -> None:
    for seed in (1, 2):
        write_run(tmp_path / f"seed_{seed}", steps=2, prompts=1 + seed, seed=seed)
    write_report([tmp_path / "seed_1", tmp_path / "seed_2"], tmp_path / "report.html")
    first, second = (
        [json.loads(line)["reward/mean"] for line in (tmp_path / f"seed_{seed}/metrics.jsonl").read_text().splitlines()]
        for seed in (1, 2)
    )
    page = visit(tmp_path / "report.html")
    chart = page.locator(".chart", has_text="reward/mean")
    assert chart.locator("path[opacity]").count() == 1
    chart.locator("svg").hover(position={"x": 60, "y": 60})
    told = page.inner_text("#hint")
    numbers = [float(number) for number in re.findall(r"\d\.\d+", told)]
    expected = [(first[0] + second[0]) / 2, min(first[0], second[0]), max(first[0], second[0])]
    assert numbers == pytest.approx(expected, rel=1e-3), told
    page.click("[data-view=answers]")
    assert count(page) == "8 answers to 2 prompts"
    page.select_option("select[aria-label=run]", "1")
    assert count(page) == "12 answers to 3 prompts"


def test_a_run_that_draws_no_answers_has_curves_alone(tmp_path: Path, visit: Visit) -> None:
    (tmp_path / "config.yaml").write_text("pretrain: tiny\ndataset: chats.jsonl\noutput_dir: runs/sft\n")
    lines = [{"step": step, "policy/nll": 2 / step, "time/step": 1.0} for step in range(1, 6)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report([tmp_path], tmp_path / "report.html")
    page = visit(tmp_path / "report.html")
    assert page.locator("#tabs button").all_text_contents() == ["Overview", "Curves", "Configuration"]
    assert page.locator(".chart figcaption span:first-child").all_text_contents()[0] == "policy/nll"
    assert "lightrft sft" in page.inner_text("main")


def test_a_damaged_file_of_answers_is_told_on_the_page_as_text(
    tmp_path: Path, write_run: Callable[..., Path], visit: Visit
) -> None:
    run = write_run(tmp_path / "<b>run", steps=2)
    (run / "trajectories" / "step_000002.parquet").write_text("torn")
    write_report([run], run / "report.html")
    page = visit(run / "report.html")
    told = "1 file of answers left out: <b>run/trajectories/step_000002.parquet cannot be read: "
    assert page.inner_text(".notice").startswith(told)
    page.click("[data-view=answers]")
    assert page.inner_text(".notice").startswith(told)


def test_the_overview_and_the_curves_show_the_metrics(run: Path, visit: Visit) -> None:
    page = visit(run / "report.html")
    assert "25.0 % → 50.0 %" in page.inner_text(".card.wide")
    assert page.locator(".chart").count() >= 6
    page.click("[data-view=curves]")
    page.wait_for_selector(".chart svg")
    page.fill("input[type=search]", "entropy")
    assert page.locator(".chart-box:visible").all_text_contents()[0].startswith("policy/entropy")
    page.click("[data-view=settings]")
    assert "rule_reward" in page.inner_text("tr.changed:has-text('rule_reward')")

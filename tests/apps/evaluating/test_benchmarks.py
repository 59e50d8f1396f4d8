"""Benchmarks, read in the forms in which they are published and judged by their own rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from lightrft_apps.config.commands.eval import parse_eval
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.known_benchmarks import BENCHMARKS, chosen_benchmarks
from lightrft_apps.config.settling import settled
from lightrft_apps.evaluating.answering import Answered, answer, judges_of
from lightrft_apps.evaluating.report import entry_of
from lightrft_apps.evaluating.tasks import Task, load_tasks
from lightrft_core import Prompt, Reward
from lightrft_strategy.data import PromptDataError

from .published import PICKLED_TESTS, PUBLISHED, text_of

TEXT = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")), unk_token="?")
WORDS = ["--pretrain", "someone/model", "--apply_chat_template", "--n_samples_per_prompt", "2", "--temperature", "1"]


def asked_for(benchmark: str, *words: str) -> EvalCommand:
    return parse_eval([*WORDS, "--reward_workers", "1", "--benchmark", benchmark, *words])


def all_of(published: dict[str, str]) -> EvalCommand:
    return asked_for(",".join(f"{name}:{file}" for name, file in published.items()))


@pytest.fixture
def tasks(published: dict[str, str], senses: Any) -> dict[str, Task]:
    return {task.name: task for task in load_tasks(all_of(published), senses, "")}


@pytest.fixture
def judge(published: dict[str, str], tasks: dict[str, Task]) -> Iterator[Reward]:
    with ExitStack() as stack:
        yield judges_of(all_of(published), [*tasks.values()], stack, {})[0]


def said(prompt: Prompt, *, right: bool) -> str:
    """What is written beside the row; of choices in an order of their own, the letter."""
    name, place = prompt.uid.split("/")[0], int(prompt.uid.rpartition(":")[2]) - 1
    asked = PUBLISHED[name][place]
    text = asked.right if right else asked.wrong
    if text in ("RIGHT", "WRONG"):
        letter = "ABCD"[(prompt.label["answer"] + (text == "WRONG")) % 4]
        return f"I think it through.\n\nAnswer: {letter}"
    return text


def test_right_answers_to_every_benchmark_get_1_and_wrong_ones_0(
    published: dict[str, str], tasks: dict[str, Task], judge: Reward, canned: Any
) -> None:
    assert tasks.keys() == BENCHMARKS.keys() == PUBLISHED.keys()
    command, found = all_of(published), dict[str, Answered]()
    for name, task in tasks.items():
        assert (len(task.prompts), task.rejected) == (len(PUBLISHED[name]), []), task.rejected
        engine = canned(lambda prompt, number: said(prompt, right=number == 0))
        found[name] = answer(command, task, engine, judge, None)
        assert [problem.right for problem in found[name].problems] == [(True, False)] * len(task.prompts), name
        assert found[name].evaluation.failed == 0
    entry = entry_of(found["math500"], None)
    assert entry["accuracy"]["value"] == 0.5 and entry["pass_at_k"]["2"]["value"] == 1
    assert entry["subgroups"]["level"]["5"] == {
        "value": 0.5,
        "n": 1,
        "interval": entry["subgroups"]["level"]["5"]["interval"],
    }
    assert {*entry["subgroups"]["subject"]} == {"Prealgebra", "Algebra"}
    assert entry_of(found["mmmu"], None)["subgroups"].keys() == {"subject", "topic_difficulty"}
    assert entry_of(found["livecodebench"], None)["subgroups"]["difficulty"].keys() == {"easy", "medium"}
    assert "maj_at_k" not in entry_of(found["livecodebench"], None) and "maj_at_k" in entry


def test_questions_are_written_with_what_judging_needs(tasks: dict[str, Task]) -> None:
    texts = {name: task.prompts[0].text for name, task in tasks.items()}
    assert texts["gsm8k"].endswith('a number behind "#### ".')
    assert (
        texts["aime25"]
        == "Sum of all bases?\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    )
    assert texts["geo3k"].startswith("[image]Find x.")
    assert texts["mmmu"].startswith(
        "[image] Sales per unit?\nA. $6\nB. $7\nC. It's $8\nD. $9\n\nAnswer with the option"
    )
    assert "A. [image]\nB. [image]" in tasks["mmmu"].prompts[1].text
    assert texts["avqa"].startswith("[audio]What happened in the audio?\nA. motorboat")
    assert "reads the input from standard input" in texts["livecodebench"]
    assert "def leastPlus" in tasks["livecodebench"].prompts[1].text


def test_benchmarks_are_drawn_as_they_usually_are_unless_flags_say_otherwise(published: dict[str, str]) -> None:
    words = ["--pretrain", "someone/model", "--benchmark", ",".join(f"{n}:{f}" for n, f in published.items())]

    def drawn(*more: str) -> dict[str, tuple[float, int, int]]:
        command = parse_eval([*words, *more])
        return {
            each.name: (each.answers.temperature, each.answers.n_samples_per_prompt, each.answers.generate_max_len)
            for each in settled(command)
        }

    assert (drawn()["gsm8k"], drawn()["aime24"]) == ((0.0, 1, 1024), (0.6, 64, 32768))
    assert drawn("--n_samples_per_prompt", "8", "--temperature", "0.9")["aime24"] == (0.9, 8, 32768)
    assert drawn("--generate_max_len", "99")["livecodebench"] == (0.2, 10, 99)
    assert drawn("--temperature", "0", "--n_samples_per_prompt", "1")["aime24"] == (0.0, 1, 32768)
    written = Path(published["aime24"]).with_name("flags.yaml")
    written.write_text("temperature: 0.0\nn_samples_per_prompt: 1\ngenerate_max_len: 1024\n")
    assert drawn("--config", str(written))["aime24"] == (0.0, 1, 1024)
    assert set(drawn("--no-benchmark_sampling").values()) == {(0.0, 1, 1024)}
    assert settled(parse_eval([*words, "--input_template", "{}!"]))[0].data.input_template == "{}!"


def test_of_gpqas_choices_each_place_is_right_equally_often(tmp_path: Path, senses: Any) -> None:
    row = PUBLISHED["gpqa_diamond"][0].row
    rows = [row | {"Question": f"Question {number}?"} for number in range(198)]
    (tmp_path / "gpqa.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (task,) = load_tasks(asked_for(f"gpqa_diamond:{tmp_path / 'gpqa.jsonl'}"), senses, "")
    places = Counter(prompt.label["answer"] for prompt in task.prompts)
    assert sorted(places.values()) == [49, 49, 50, 50]
    orders = Counter(tuple(prompt.label["choices"]) for prompt in task.prompts)
    assert len(orders) == 24 and max(orders.values()) < 25
    assert all(prompt.label["choices"][prompt.label["answer"]] == "a proton" for prompt in task.prompts)
    assert [prompt.label["answer"] for prompt in task.prompts[:12]] != [0, 1, 2, 3] * 3
    (again,) = load_tasks(asked_for(f"gpqa_diamond:{tmp_path / 'gpqa.jsonl'}", "--limit", "9"), senses, "")
    assert [prompt.text for prompt in again.prompts] == [prompt.text for prompt in task.prompts[:9]]


def test_rows_are_where_the_flags_say_and_otherwise_on_the_hub() -> None:
    chosen = chosen_benchmarks("gsm8k, math500:a.jsonl,avqa", "avqa=sounds/b.parquet")
    places = {each.name: each.place for each in chosen}
    assert places == {"gsm8k": "openai/gsm8k?name=main", "math500": "a.jsonl", "avqa": "sounds/b.parquet"}


def test_a_chat_model_that_is_asked_without_its_template_is_warned_of(published: dict[str, str], senses: Any) -> None:
    words = ["--pretrain", "x/y", "--benchmark", f"math500:{published['math500']}", "--subgroup_keys", "unique_id"]
    senses.tokenizer = TEXT
    (task,) = load_tasks(parse_eval(words), senses, "")
    assert task.warnings == []
    senses.tokenizer = copy(TEXT)
    senses.tokenizer.chat_template = "{{ messages }}"
    (task,) = load_tasks(parse_eval(words), senses, "")
    assert "add --apply_chat_template unless this is a base model" in task.warnings[0]
    assert task.groups[task.prompts[0].uid] == {
        "level": "1", "subject": "Prealgebra", "unique_id": "test/prealgebra/1.json"
    }  # fmt: skip


BAD = {
    "gsm8k": ({"question": "x", "answer": "7"}, 'its "answer" does not end in #### and a number'),
    "math500": ({"problem": "x", "answer": " "}, 'its "answer" is blank'),
    "aime24": ({"problem": "x", "answer": "1000"}, "its \"answer\" '1000' is no whole number from 0 to 999"),
    "aime25": ({"problem": "x", "answer": 7.5}, 'its "answer" is of type float, not a whole number'),
    "gpqa_diamond": ({"Question": "x", "Correct Answer": "y"}, 'has no "Incorrect Answer 1"'),
    "mmmu": (PUBLISHED["mmmu"][0].row | {"options": "['$6', "}, 'its "options" "[\'$6\', " is not the text of a list'),
    "livecodebench": (
        PUBLISHED["livecodebench"][0].row | {"private_test_cases": PICKLED_TESTS},
        'its "private_test_cases" is no JSON: as livecodebench/code_generation_lite publishes them, these tests are a '
        "pickle",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_names_its_file_its_number_and_its_column(name: str, tmp_path: Path, senses: Any) -> None:
    file = tmp_path / "rows.jsonl"
    good = next(asked.row for asked in PUBLISHED[name])
    file.write_text(text_of(good) + "\n" + text_of(BAD[name][0]) + "\n")
    (task,) = load_tasks(asked_for(f"{name}:{file}"), senses, "")
    assert len(task.prompts) == 1
    assert str(task.rejected[0]).startswith(f"{file}, row 2: {BAD[name][1]}")


def test_open_questions_and_images_that_are_not_there_are_refused(tmp_path: Path, senses: Any) -> None:
    row, file = PUBLISHED["mmmu"][0].row, tmp_path / "rows.jsonl"
    rows = [row, row | {"question_type": "open", "options": "[]"}, row | {"image_1": None}, row | {"answer": "?"}]
    file.write_text("".join(text_of(each) + "\n" for each in rows))
    (task,) = load_tasks(asked_for(f"mmmu:{file}"), senses, "")
    reasons = [rejected.reason for rejected in task.rejected]
    assert "is an open question" in reasons[0] and '"image_1" is missing' in reasons[1] and '"answer"' in reasons[2]


def test_a_file_without_a_usable_row_names_the_benchmarks_flag(tmp_path: Path, senses: Any) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(PromptDataError, match=r"--benchmark gsm8k.*") as caught:
        load_tasks(asked_for(f"gsm8k:{tmp_path / 'rows.jsonl'}"), senses, "")
    assert 'row 1: has no "answer"' in str(caught.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--benchmark", "gsm9k"], "--benchmark gsm9k: there is no such benchmark; there are gsm8k, math500, aime24"),
        (["--benchmark", "avqa"], "--benchmark avqa: no data set of the hub has rows that can be read: write avqa:"),
        (["--benchmark", "gsm8k:gone.jsonl"], "--benchmark gsm8k gone.jsonl: there is no such file or folder"),
        (["--benchmark", "gsm8k", "--benchmark_path", "avqa=x"], "--benchmark_path avqa: name it in --benchmark, too"),
        (["--benchmark", "gsm8k", "--rule_reward", "number"], "--rule_reward: a benchmark is judged by its own rule"),
        (["--benchmark", "gsm8k", "--prompt_data", "x"], "--prompt_data and --benchmark are given"),
        (["--benchmark", "gsm8k", "--reward_pretrain", "x/y"], "--reward_pretrain has no effect"),
        (["--prompt_data", "x/y", "--rule_reward", "number", "--benchmark_path", "a=b"], "--benchmark_path has no"),
        ([], "--prompt_data is needed, or --benchmark"),
        (["--benchmark", "aime24", "--temperature", "0", "--no-benchmark_sampling", "--n_samples_per_prompt", "4"],
         "--n_samples_per_prompt 4 at --temperature 0 (of aime24): all answers would be equal"),
        (["--benchmark", "livecodebench:x/y", "--search", "majority"], "no rule of livecodebench reads an answer"),
        (["--benchmark", "gsm8k", "--search", "majority"], "--search majority (of gsm8k): there is one answer"),
        (["--benchmark", "gsm8k", "--search", "beam"], "--search beam: nothing says which answer is better"),
        (["--benchmark", "gsm8k", "--beam_width", "3"], "--beam_width has no effect: set --search beam"),
        (["--benchmark", "gsm8k", "--compare", "a/b,c/d"], "--pretrain names a model and --compare others"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_says_which_flag_to_change(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_eval(["--pretrain", "someone/model", *words])
    assert told in capsys.readouterr().err

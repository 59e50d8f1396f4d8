"""Which files, folders, datasets and tasks a run's prompts come from, and what their rows are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lightrft_strategy.data import (
    LoadedPrompts,
    PromptDataError,
    PromptSpec,
    Rejected,
    flags_called,
    load_prompts,
)
from lightrft_strategy.data.procedural_worker import task_items

Load = Callable[..., LoadedPrompts]


@pytest.fixture(scope="module")
def load() -> Load:
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")

    def load(*sources: object, **flags: Any) -> LoadedPrompts:
        return load_prompts(PromptSpec(",".join(map(str, sources)), **flags), tokenizer)

    return load


def rows(path: Path, *inputs: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"input": text, "label": 0}) + "\n" for text in inputs))
    return path


def uids(loaded: LoadedPrompts) -> list[list[str]]:
    return [[prompt.uid for prompt in source] for source in loaded.sources]


def test_files_of_one_name_get_as_much_of_their_path_as_tells_them_apart(tmp_path: Path, load: Load) -> None:
    first, second = rows(tmp_path / "a" / "train.jsonl", "x"), rows(tmp_path / "b" / "train.jsonl", "x")
    third = rows(tmp_path / "c" / "more.jsonl", "x")
    assert uids(load(first, second, third)) == [["a/train.jsonl:1"], ["b/train.jsonl:1"], ["more.jsonl:1"]]


def test_the_same_file_twice_is_an_error(tmp_path: Path, load: Load) -> None:
    path = rows(tmp_path / "train.jsonl", "x")
    with pytest.raises(PromptDataError, match=r"train\.jsonl is given twice"):
        load(path, path)


def test_a_folder_gives_its_files_in_order_less_those_of_other_splits(tmp_path: Path, load: Load) -> None:
    for name in ("train-00001.jsonl", "train-00000.jsonl", "sums.jsonl", "test.jsonl", ".cache/train.jsonl"):
        rows(tmp_path / "set" / name, "x")
    (tmp_path / "set" / "dataset_infos.json").write_text("{}")
    (tmp_path / "set" / "README.md").write_text("About")
    assert uids(load(tmp_path / "set")) == [["sums.jsonl:1", "train-00000.jsonl:1", "train-00001.jsonl:1"]]
    assert uids(load(tmp_path / "set", prompt_split="test")) == [["sums.jsonl:1", "test.jsonl:1"]]
    with pytest.raises(PromptDataError, match=r'no file of the split "hard" .*set --prompt_split'):
        load(tmp_path / "set", prompt_split="hard")


def test_max_samples_reads_the_first_rows_of_each_source(tmp_path: Path, load: Load) -> None:
    folder = rows(tmp_path / "set" / "1.jsonl", "a", "b").parent
    rows(folder / "2.jsonl", "c", "d")
    rows(folder / "3.jsonl", "e")
    other = rows(tmp_path / "other.jsonl", "", "g", "h", "i")
    loaded = load(folder, other, max_samples=3)
    assert uids(loaded) == [["1.jsonl:1", "1.jsonl:2", "2.jsonl:1"], ["other.jsonl:2", "other.jsonl:3"]]
    assert [item.row for item in loaded.rejected] == [1]


def test_a_saved_dataset_is_read_by_split(tmp_path: Path, load: Load) -> None:
    parts = {name: datasets.Dataset.from_list([{"input": f"{name} row"}]) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    loaded = load(tmp_path / "saved", prompt_split="test")
    assert [(p.uid, p.text) for p in loaded.sources[0]] == [("saved[test]:1", "test row")]
    with pytest.raises(PromptDataError, match='has no split "dev": set --prompt_split to one of train, test'):
        load(tmp_path / "saved", prompt_split="dev")


def test_a_dataset_id_is_loaded_with_its_options(monkeypatch: pytest.MonkeyPatch, load: Load) -> None:
    asked: list[Any] = []

    def load_dataset(path: str, **options: str) -> datasets.Dataset:
        asked.append((path, options))
        return datasets.Dataset.from_list([{"input": "x"}, {"input": "y"}]).select([1])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = load("openai/gsm8k?name=main", prompt_split="test")
    assert asked == [("openai/gsm8k", {"split": "test", "name": "main"})]
    assert [(p.uid, p.text) for p in loaded.sources[0]] == [("openai/gsm8k[test]:1", "y")]
    with pytest.raises(PromptDataError, match='unknown option "config"; there are name, revision, data_dir'):
        load("openai/gsm8k?config=main")


def test_what_is_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, load: Load) -> None:
    def load_dataset(path: str, **options: str) -> datasets.Dataset:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    message = "some/name is neither a file, a directory nor a dataset id that could be loaded: no route to the hub"
    with pytest.raises(PromptDataError, match=message):
        load("some/name")
    with pytest.raises(PromptDataError, match=r"gone\.jsonl is neither a file, a directory nor a dataset id"):
        load(tmp_path / "gone.jsonl")
    with pytest.raises(PromptDataError, match=r"no \.jsonl, \.json, \.csv, \.parquet file and no saved dataset"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"prompt_data": "a,,b"}, "empty source"),
        ({"prompt_data": ""}, "empty source"),
        ({"prompt_data": "a,b", "prompt_data_probs": "1"}, "has 1 numbers, --prompt_data 2 sources"),
        ({"prompt_data": "a,b", "prompt_data_probs": "1,0"}, "must be positive numbers"),
        ({"prompt_data": "a,b", "prompt_data_probs": "1,nan"}, "must be positive numbers"),
        ({"prompt_data": "a,b", "prompt_data_probs": "1,x"}, "such as 0.7,0.3"),
        ({"prompt_data": "a", "prompt_max_len": 0}, "--prompt_max_len"),
        ({"prompt_data": "a", "max_samples": 0}, "--max_samples"),
    ],
)
def test_flags_that_cannot_be_right_are_refused_before_anything_is_read(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptDataError, match=message):
        PromptSpec(**flags)


def test_an_error_names_the_flags_that_were_asked_and_no_others() -> None:
    said = "correct --prompt_data, or --prompt_data_probs"
    expected = pytest.raises(PromptDataError, match=r"^correct --eval_dataset, or --prompt_data_probs$")
    with expected as caught, flags_called({"--prompt_data": "--eval_dataset"}):
        raise PromptDataError(said, [Rejected("a", 1, "bad", {})])
    assert [item.row for item in caught.value.rejected] == [1]


def test_a_file_with_a_comma_in_its_name_is_one_source(tmp_path: Path) -> None:
    path = rows(tmp_path / "a,b.jsonl", "x")
    assert PromptSpec(str(path)).sources == (str(path),)


def test_commas_in_the_brackets_of_an_option_do_not_end_a_source() -> None:
    spec = PromptSpec('reasoning_gym:basic_arithmetic?operators=["+","-"]&size=3, b.jsonl')
    assert spec.sources == ('reasoning_gym:basic_arithmetic?operators=["+","-"]&size=3', "b.jsonl")


def test_a_task_gives_the_same_rows_in_every_process(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """word_ladder draws from a set of words, so its rows follow the hash seed of the process that makes them."""
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    first = load("reasoning_gym:word_ladder?size=2&seed=7", input_key="question")
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    assert load("reasoning_gym:word_ladder?size=2&seed=7") == first
    assert uids(first) == [["reasoning_gym:word_ladder:1", "reasoning_gym:word_ladder:2"]]
    prompt = first.sources[0][1]
    assert prompt.route == "reasoning_gym"
    assert prompt.label["task"] == "word_ladder"
    assert prompt.label["entry"]["question"] == prompt.text
    assert json.loads(json.dumps(prompt.label)) == prompt.label


def test_a_task_error_reaches_the_user_through_its_process(load: Load) -> None:
    with pytest.raises(PromptDataError, match=r'reasoning_gym:chain_sums: there is no task "chain_sums".* chain_sum'):
        load("reasoning_gym:chain_sums")


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("chain_sum", {"terms": "2"}, 'task "chain_sum" has no option "terms"; it has min_terms, max_terms'),
        ("chain_sum", {"min_terms": "two"}, 'option "min_terms" must be like 2, not two'),
        ("chain_sum", {"min_terms": "9", "max_terms": "2"}, "refuses its options: max_terms must be >= min_terms"),
        ("basic_arithmetic", {"operators": "5"}, 'option "operators" must be like'),
        ("rearc", {}, "does not recognise its own answers once kept as JSON"),
    ],
)
def test_options_a_task_does_not_have_are_refused(task: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(task_items(task, options, 1))


def test_options_shape_a_task() -> None:
    options = {"min_terms": "2", "max_terms": "2", "allow_negation": "True", "seed": "1"}
    items = [line["item"] for line in task_items("chain_sum", options, 3)]
    assert [item["metadata"]["num_terms"] for item in items] == [2, 2, 2]
    items = [line["item"] for line in task_items("basic_arithmetic", {"operators": '["*"]', "seed": "1"}, 3)]
    assert all("*" in item["question"] and "+" not in item["question"] for item in items)

"""Every data set is read as it is published: who won, by how much, of what, and where the media lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightrft_rewards.preferences import Comparison, LoadedComparisons, load_comparisons
from lightrft_strategy.data.parts import Medium

from . import published


def read(source: str, **asked: Any) -> LoadedComparisons:
    return load_comparisons(source, **{"seed": None, **asked})


def only(source: str, **asked: Any) -> Comparison:
    loaded = read(source, **asked)
    assert loaded.rejected == []
    (comparison,) = loaded.comparisons
    return comparison


def reasons(loaded: LoadedComparisons) -> list[tuple[int, str]]:
    return [(item.row, item.reason) for item in loaded.rejected]


def sources_of(comparison: Comparison) -> list[Any]:
    """What each answer is read from; answers are one medium each."""
    media = [answer[0] for answer in comparison.answers]
    assert all(isinstance(medium, Medium) and medium.part is not None for medium in media)
    return [medium.part[medium.modality] for medium in media if isinstance(medium, Medium) and medium.part]


def modalities(comparison: Comparison) -> set[str]:
    return {piece.modality for answer in comparison.answers for piece in answer if isinstance(piece, Medium)}


def question(comparison: Comparison) -> str:
    (turn,) = comparison.asked
    assert turn.role == "user"
    return turn.text


@pytest.mark.parametrize("write", [published.write_json, published.write_jsonl])
def test_hpdv3_prefers_path1_by_the_share_of_the_votes_in_whichever_order_they_stand(
    tmp_path: Path, write: Any
) -> None:
    file = write(
        [published.hpdv3(), published.hpdv3(1, choice_dist=None), published.hpdv3(2, choice_dist=[9, 9])],
        tmp_path / "x.json",
    )
    first, plain, tie = read(f"hpdv3:{file}").comparisons
    assert first.labels == {"score": (0.75, 0.25)}
    assert plain.labels == {"score": (1.0, 0.0)}
    assert tie.labels == {"score": (0.5, 0.5)}
    assert sources_of(first) == ["images/0a.jpg", "images/0b.jpg"]
    assert (question(first), first.makers, first.source) == ("a cat, number 0", ("flux", "sd"), "hpdv3")
    assert (first.root, first.uid, modalities(first)) == (tmp_path, "x.json:1", {"image"})


def test_hpdv3_votes_of_nobody_are_no_votes(tmp_path: Path) -> None:
    rows = [
        published.hpdv3(),
        published.hpdv3(choice_dist=[0, 0]),
        published.hpdv3(choice_dist=[5, -1]),
        published.hpdv3(choice_dist=[5]),
    ]
    loaded = read(f"hpdv3:{published.write_json(rows, tmp_path / 'x.json')}")
    assert len(loaded.comparisons) == 1
    assert [row for row, _ in reasons(loaded)] == [2, 3, 4]
    assert all("choice_dist" in reason for _, reason in reasons(loaded))


def test_imagerewarddb_compares_all_images_of_a_prompt_over_all_shards_at_once(tmp_path: Path) -> None:
    rows = [published.image_reward(1, image, rank) for image, rank in enumerate([2, 1, 2])]
    other = [published.image_reward(2, 0, 1, overall_rating=None), published.image_reward(2, 1, 2)]
    published.write_json([*rows[:2], *other], tmp_path / "images/train/train_1/train_1.json")
    published.write_json([rows[2], published.image_reward(3, 0, 1)], tmp_path / "images/train/train_2/train_2.json")
    (tmp_path / "images/train/train_1/1_0.webp").write_bytes(b"there")
    loaded = read(f"imagerewarddb:{tmp_path / 'images/train'}")
    first, second = loaded.comparisons
    assert first.labels == {
        "score": (-2.0, -1.0, -2.0),
        "overall": (4.0, 5.0, 4.0),
        "alignment": (5.0, 5.0, 5.0),
        "fidelity": (2.0, 1.0, 2.0),
    }
    assert sources_of(first) == [row["image_path"] for row in rows]
    assert first.root == tmp_path, "image_path starts at the data set's own folder"
    assert set(second.labels) == {"score", "alignment", "fidelity"}, "one of its images has no overall rating"
    assert [(item.row, Path(item.source).name) for item in loaded.rejected] == [(2, "train_2.json")]
    assert "one usable image of prompt 000003-0035" in loaded.rejected[0].reason


def test_imagerewarddb_rejects_every_image_that_it_cannot_compare(tmp_path: Path) -> None:
    rows = [
        published.image_reward(1, 0, 1),
        published.image_reward(1, 1, 2, prompt="another"),
        *(published.image_reward(2, image, image) for image in (1, 2)),
        *(published.image_reward(3, 0, rank) for rank in (1, 2)),
    ]
    loaded = read(f"imagerewarddb:{published.write_json(rows, tmp_path / 'x.json')}")
    assert [comparison.uid for comparison in loaded.comparisons] == ["x.json:000002-0035"]
    assert [row for row, _ in reasons(loaded)] == [1, 2, 5, 6]
    assert "the one usable image" in reasons(loaded)[0][1]
    assert "the same answer twice" in reasons(loaded)[3][1]


@pytest.mark.parametrize(("name", "modality"), [("t2i", "image"), ("t2v", "video"), ("t2a", "audio")])
def test_omnirewardbench_is_read_in_each_modality(tmp_path: Path, name: str, modality: str) -> None:
    preferences = ["response1", "response2", "tie", "equally good"]
    rows = [published.omni(modality, preference) for preference in preferences]
    (tmp_path / "media_data/model_a").mkdir(parents=True)
    (tmp_path / "media_data/model_a/1.x").write_bytes(b"there")
    file = published.write_parquet([*rows, published.omni(modality, "neither")], tmp_path / "text_to_x/test.parquet")
    loaded = read(f"omnirewardbench-{name}:{file}")
    labels = [comparison.labels["score"] for comparison in loaded.comparisons]
    assert labels == [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.0, 0.0)]
    first = loaded.comparisons[0]
    assert sources_of(first) == ["media_data/model_a/1.x", "media_data/model_b/1.x"]
    assert (first.root, modalities(first)) == (tmp_path, {modality}), "media_data lies beside the file's folder"
    assert (first.criterion, first.makers) == ("Which is nearer to the prompt?", ("a", "b"))
    assert [row for row, _ in reasons(loaded)] == [5]
    assert '"neither"' in reasons(loaded)[0][1]


def test_each_of_rapidatas_questions_is_a_head_with_its_own_results(tmp_path: Path) -> None:
    rows = [
        published.rapidata(),
        published.rapidata(weighted_results1_Coherence=None, weighted_results2_Coherence=None),
    ]
    (tmp_path / "Videos").mkdir()
    (tmp_path / "Videos/0001_pika.mp4").write_bytes(b"there")
    file = published.write_parquet(rows, tmp_path / "data/train.parquet")
    first, second = read(f"rapidata-t2v:{file}").comparisons
    assert first.labels == {"preference": (0.7, 0.3), "coherence": (0.25, 0.75), "alignment": (0.5, 0.5)}
    assert set(second.labels) == {"preference", "alignment"}
    assert sources_of(first) == ["Videos/0001_pika.mp4", "videos/0001_veo.mp4"], (
        "each where it is, or in the plainest place"
    )
    assert (first.root, modalities(first)) == (tmp_path, {"video"})


def test_rapidata_without_results_or_with_half_of_one_is_rejected(tmp_path: Path) -> None:
    metrics = [key for key in published.rapidata() if key.startswith("weighted")]
    rows = [
        published.rapidata(),
        published.rapidata(**dict.fromkeys(metrics)),
        published.rapidata(weighted_results2_Alignment=None),
    ]
    loaded = read(f"rapidata-t2v:{published.write_jsonl(rows, tmp_path / 'x.jsonl')}")
    assert [row for row, _ in reasons(loaded)] == [2, 3]
    assert "weighted_results2_Alignment" in reasons(loaded)[1][1]


def test_rapidata_of_images_asks_by_the_first_frame_and_finds_videos_in_each_layout(tmp_path: Path) -> None:
    names = ["https://assets.example/seedance-1-pro/7.mp4", "7_hailuo.mp4"]
    frame = {"bytes": b"frame", "path": None}
    row = published.rapidata(prompt_asset=frame, file_name1=names[0], file_name2=names[1])
    for place in ("seedance-1-pro/7.mp4", "hailuo-02/7_hailuo.mp4"):
        (tmp_path / "videos" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / place).write_bytes(b"there")
    comparison = only(f"rapidata-i2v:{published.write_parquet([row], tmp_path / 'train.parquet')}")
    assert sources_of(comparison) == ["videos/seedance-1-pro/7.mp4", "videos/hailuo-02/7_hailuo.mp4"]
    (turn,) = comparison.asked
    assert [medium.part for medium in turn.media] == [{"type": "image", "image": frame}]
    assert turn.text.strip() == "a boat"


def test_audio_alpaca_prefers_the_chosen_sound(tmp_path: Path) -> None:
    published.write_parquet([published.audio_alpaca()], tmp_path / "data/train-0.parquet")
    published.write_parquet([published.audio_alpaca()], tmp_path / "data/train-1.parquet")
    loaded = read(f"audio-alpaca:{tmp_path / 'data'}")
    assert [each.uid for each in loaded.comparisons] == ["train-0.parquet:1", "train-1.parquet:1"]
    first = loaded.comparisons[0]
    assert [source["bytes"] for source in sources_of(first)] == [b"RIFF-good", b"RIFF-bad"]
    assert (first.labels, modalities(first), question(first)) == ({"score": (1.0, 0.0)}, {"audio"}, "a dog barks")


def test_a_written_judgement_is_kept_and_its_answer_is_the_label(tmp_path: Path) -> None:
    tie = [{"value": "Which?"}, {"value": "<answer>Both are equally good</answer>"}]
    silent = [{"value": "Which?"}, {"value": "<answer>Neither, frankly</answer>"}]
    rows = [
        published.imagegen_cot(1),
        published.imagegen_cot(2),
        published.imagegen_cot(conversations=tie),
        published.imagegen_cot(conversations=silent),
    ]
    loaded = read(f"imagegen-cot-reward-5k:{published.write_json(rows, tmp_path / 'x.json')}", seed=3)
    first, second, third = loaded.comparisons
    assert [each.labels["score"] for each in loaded.comparisons] == [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]
    assert first.reasoning == published.COT.format(one="windows", number=1), (
        "in the order it speaks of, whatever the seed"
    )
    assert sources_of(second) == ["images/0.png", "images/1.png"]
    assert question(first) == "Which image fits: a red house?"
    assert third.reasoning == "<answer>Both are equally good</answer>"
    assert [row for row, _ in reasons(loaded)] == [4]


def test_genai_bench_compares_all_rated_models_by_their_mean(tmp_path: Path) -> None:
    rows = [
        published.genai_bench(),
        published.genai_bench(DALLE_3=None),
        published.genai_bench(DALLE_3=None, DeepFloyd=None),
    ]
    loaded = read(f"genai_bench:{published.write_parquet(rows, tmp_path / 'test-0.parquet')}", split="test")
    first, second = loaded.comparisons
    assert (first.makers, first.labels["score"]) == (("DALLE_3", "SDXL_Turbo", "DeepFloyd"), (4.0, 5 / 3, 4.0))
    assert [source["bytes"] for source in sources_of(first)] == [b"dalle", b"turbo", b"floyd"]
    assert second.makers == ("SDXL_Turbo", "DeepFloyd")
    assert [row for row, _ in reasons(loaded)] == [3]


def test_genai_bench_of_the_arena_is_read_by_its_votes(tmp_path: Path) -> None:
    votes = {"leftvote": (1.0, 0.0), "rightvote": (0.0, 1.0), "tievote": (0.0, 0.0), "bothbad_vote": (0.0, 0.0)}
    sides = {
        "prompt": "x",
        "left_model": "a",
        "right_model": "b",
        "left_image": {"bytes": b"l"},
        "right_image": {"bytes": b"r"},
    }
    rows = [{**sides, "vote_type": vote} for vote in [*votes, "novote"]]
    loaded = read(f"genai_bench:{published.write_parquet(rows, tmp_path / 'x.parquet')}")
    assert [each.labels["score"] for each in loaded.comparisons] == [*votes.values()]
    assert loaded.comparisons[0].makers == ("a", "b")
    assert "novote" in reasons(loaded)[0][1]


@pytest.mark.parametrize("whole_folder", [True, False])
def test_genai_bench_of_videos_is_an_object_of_prompts(tmp_path: Path, whole_folder: bool) -> None:
    entries = {"0007": published.genai_video(), "0008": "nothing", "0009": published.genai_video(models={"Gen2": [1]})}
    file = published.write_json(entries, tmp_path / "genai_video.json")
    loaded = read(f"genai_bench_video:{tmp_path if whole_folder else file}")
    (comparison,) = loaded.comparisons
    assert sources_of(comparison) == ["Gen2/0007.mp4", "Pika/0007.mp4"]
    assert (comparison.labels, comparison.root) == ({"score": (1.5, 3.0)}, tmp_path)
    assert [row for row, _ in reasons(loaded)] == [2, 3]


def test_genai_bench_of_videos_may_as_well_be_rows(tmp_path: Path) -> None:
    file = published.write_jsonl([published.genai_video(id="7")], tmp_path / "x.jsonl")
    assert sources_of(only(f"genai_bench_video:{file}")) == ["Gen2/7.mp4", "Pika/7.mp4"]


def test_videodpo_numbers_stand_for_files_of_winners_and_losers(tmp_path: Path) -> None:
    rows = [
        published.videodpo(),
        published.videodpo(label=1),
        published.videodpo(video1=-2),
        published.videodpo(label=2),
    ]
    loaded = read(f"videodpo:{published.write_json(rows, tmp_path / 'pair.json')}")
    first, second = loaded.comparisons
    assert sources_of(first) == ["winvideos/000012.mp4", "losevideos/000015.mp4"]
    assert (first.labels["score"], second.labels["score"]) == ((1.0, 0.0), (0.0, 1.0))
    assert [row for row, _ in reasons(loaded)] == [3, 4]


def test_each_column_of_videogen_rewardbench_is_a_head_and_a_blank_one_is_none(tmp_path: Path) -> None:
    rows = [
        published.videogen(),
        published.videogen(Overall="", MQ="nan"),
        published.videogen(VQ="", MQ="", TA="", Overall=""),
        published.videogen(TA="C"),
    ]
    loaded = read(f"videogen-rewardbench:{published.write_csv(rows, tmp_path / 'x.csv')}")
    first, second = loaded.comparisons
    assert first.labels == {"VQ": (1.0, 0.0), "MQ": (0.0, 0.0), "TA": (0.0, 1.0), "Overall": (1.0, 0.0)}
    assert set(second.labels) == {"VQ", "TA"}
    assert sources_of(first) == ["videos/a.mp4", "videos/b.mp4"]
    assert [row for row, _ in reasons(loaded)] == [3, 4]


@pytest.mark.parametrize("write", [published.write_jsonl, published.write_csv])
def test_safe_rlhf_has_a_helpful_head_and_an_absolute_safe_one(tmp_path: Path, write: Any) -> None:
    both = {"is_response_0_safe": True, "is_response_1_safe": True}
    none = {"is_response_0_safe": False, "is_response_1_safe": False}
    rows = [published.safe_rlhf(), published.safe_rlhf(**both), published.safe_rlhf(**none, safer_response_id=1)]
    wrong = [
        published.safe_rlhf(safer_response_id=1),
        published.safe_rlhf(better_response_id=2),
        published.safe_rlhf(is_response_0_safe="no"),
    ]
    loaded = read(
        f"pku_saferlhf:{write([*rows, *wrong], tmp_path / ('x.csv' if write is published.write_csv else 'x.jsonl'))}"
    )
    assert [each.labels["helpful"] for each in loaded.comparisons] == [(0.0, 1.0)] * 3
    assert [each.labels["safe"] for each in loaded.comparisons] == [(1.0, -1.0), (1.5, 1.0), (-1.0, -0.5)]
    assert loaded.comparisons[0].answers == (("Pins and springs.",), ("Steal one and see.",))
    assert len(loaded.rejected) == 3, "whoever calls an unsafe answer safer than a safe one contradicts himself"


def test_media_are_looked_for_where_the_user_says_they_lie(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = published.write_json([published.hpdv3()], tmp_path / "data/x.json")
    assert only(f"hpdv3:{file}", media_root=elsewhere).root == elsewhere

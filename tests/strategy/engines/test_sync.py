"""A hand-over: what is sent, how it travels, and what would be noticed if it did not arrive."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import TrainingDiverged
from lightrft_strategy.engines.server_process import free_port
from lightrft_strategy.engines.sync.broadcast import Channel
from lightrft_strategy.engines.sync.buckets import buckets, from_json, layout, pack, to_json, view
from lightrft_strategy.engines.sync.fingerprint import digest, fingerprint
from lightrft_strategy.engines.sync.probe import Probe
from lightrft_strategy.engines.sync.published import ModelWeights, Published
from lightrft_strategy.engines.sync.receipt import Received, SyncError, Tolerance, check_arrival
from lightrft_strategy.engines.sync.shared_memory import MEMORY, mapped, shared_bucket

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.uint8)


def tensors(*sizes: int) -> list[Published]:
    generator = torch.Generator().manual_seed(len(sizes))
    return [
        Published((f"layer.{i}.weight",), torch.randn(size, 3, generator=generator).to(DTYPES[i % 3]))
        for i, size in enumerate(sizes)
    ]


@given(st.integers(1, 40_000), st.sampled_from(DTYPES), st.data())
def test_a_fingerprint_notices_one_changed_number_and_two_swapped_ones(
    size: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    original = (torch.arange(size) % 251 + 1).to(dtype)
    assert fingerprint(original) == fingerprint(original.clone())
    place = data.draw(st.integers(0, size - 1))
    changed = original.clone()
    changed[place] += 1 if dtype != torch.bfloat16 else 2
    assert (fingerprint(changed) == fingerprint(original)) == bool((changed == original).all())
    other = data.draw(st.integers(0, size - 1))
    swapped = original.clone()
    swapped[[place, other]] = original[[other, place]]
    assert (fingerprint(swapped) == fingerprint(original)) == bool((swapped == original).all())


def test_a_fingerprint_is_of_type_and_shape_too_and_blind_to_layout() -> None:
    zeros = torch.zeros(6)
    assert (
        len({fingerprint(zeros), fingerprint(zeros.view(2, 3)), fingerprint(torch.zeros(3, dtype=torch.float64))}) == 3
    )
    table = torch.randn(5, 7)
    assert fingerprint(table.T) == fingerprint(table.T.contiguous()) != fingerprint(table)
    assert fingerprint(torch.zeros(0)) != fingerprint(torch.zeros(1))


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 400))
def test_buckets_keep_order_and_bounds_and_lose_nothing(sizes: list[int], size: int) -> None:
    sent = tensors(*sizes)
    parcels = list(buckets(sent, size))
    assert [published for parcel in parcels for published in parcel] == sent
    assert all(len(parcel) == 1 or sum(p.bytes for p in parcel) <= size for parcel in parcels)
    for parcel in parcels:
        slots, needed = layout(parcel)
        buffer = torch.zeros(needed, dtype=torch.uint8)
        pack(parcel, slots, buffer)
        assert from_json(to_json(slots)) == slots
        for published, slot in zip(parcel, slots, strict=True):
            assert torch.equal(view(slot, buffer), published.tensor)
            assert view(slot, buffer).dtype == published.tensor.dtype


def test_shared_memory_carries_a_bucket_and_leaves_nothing_behind() -> None:
    sent = tensors(4, 9, 2)
    with shared_bucket(sent) as (path, packing):
        received = [view(slot, mapped(path)).clone() for slot in from_json(packing)]
    assert all(torch.equal(a.tensor, b) for a, b in zip(sent, received, strict=True))
    with pytest.raises(FileNotFoundError):
        mapped(path)


def test_memory_that_is_too_small_is_an_error_and_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(SyncError, match="no room for"), shared_bucket(tensors(4)):
        pass


def test_what_a_killed_process_left_in_shared_memory_is_swept_up() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, ours = (MEMORY / f"lightrft-{pid}-test" for pid in (ended.pid, os.getpid()))
    for path in (left, ours):
        path.touch()
    with shared_bucket(tensors(4)):
        pass
    assert (left.exists(), ours.exists()) == (False, True)
    ours.unlink()


def test_a_broadcast_reaches_every_worker() -> None:
    sent, port = torch.arange(1000, dtype=torch.uint8), free_port()
    received: dict[int, torch.Tensor] = {}

    def take(rank: int) -> None:
        channel = Channel("127.0.0.1", port, rank, 3, "gloo", 240)
        received[rank] = channel.take(len(sent))

    workers = [threading.Thread(target=take, args=(rank,)) for rank in (1, 2)]
    for worker in workers:
        worker.start()
    Channel("127.0.0.1", port, 0, 3, "gloo", 240).send(sent)
    for worker in workers:
        worker.join()
    assert all(torch.equal(received[rank], sent) for rank in (1, 2))


def test_a_broadcast_to_nobody_ends_in_an_error() -> None:
    with pytest.raises(RuntimeError):
        Channel("127.0.0.1", free_port(), 0, 2, "gloo", 1).send(torch.zeros(3, dtype=torch.uint8))


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_publishes_its_checkpoint_and_tied_weights_once(tiny_model: Callable[..., Any], tied: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied)
    published = list(ModelWeights(model).tensors())
    names = [name for each in published for name in each.names]
    assert sorted(names) == sorted(model.state_dict())
    assert (("model.embed_tokens.weight", "lm_head.weight") in [each.names for each in published]) == tied
    for each in published:
        for name in each.names:
            assert torch.equal(each.tensor, model.state_dict()[name])


def test_an_adapter_is_published_merged_under_the_names_of_the_plain_model(tiny_model: Callable[..., Any]) -> None:
    from peft import LoraConfig, get_peft_model

    plain = tiny_model(tie_word_embeddings=True)
    names = sorted(plain.state_dict())
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(tiny_model(tie_word_embeddings=True), config).eval()
    published = {name: each.tensor for each in ModelWeights(adapted).tensors() for name in each.names}
    assert sorted(published) == names
    plain.load_state_dict(published)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert (plain(ids).logits - adapted(ids).logits).abs().max() < 1e-4
        assert (plain(ids).logits - tiny_model(tie_word_embeddings=True)(ids).logits).abs().max() > 0.1
    probe = list(range(10, 30))
    assert ModelWeights(plain).logprobs(probe) == pytest.approx(ModelWeights(adapted).logprobs(probe), abs=1e-4)


def test_an_adapter_on_the_embeddings_is_merged_too(tiny_model: Callable[..., Any]) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules=["embed_tokens"], init_lora_weights=False)
    adapted = get_peft_model(tiny_model(tie_word_embeddings=False), config).eval()
    plain = tiny_model(tie_word_embeddings=False)
    plain.load_state_dict({name: each.tensor for each in ModelWeights(adapted).tensors() for name in each.names})
    assert ModelWeights(plain).logprobs(range(30)) == pytest.approx(ModelWeights(adapted).logprobs(range(30)), abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_modules": ["lm_head"]}, "is tied to .* and an adapter changes one of them alone"),
        ({"target_modules": ["q_proj"], "use_dora": True}, "more than a sum .* use plain LoRA"),
    ],
    ids=["tied", "DoRA"],
)
def test_an_adapter_that_no_plain_checkpoint_can_hold_is_refused(
    tiny_model: Callable[..., Any], settings: dict[str, Any], message: str
) -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(tiny_model(tie_word_embeddings=True), LoraConfig(init_lora_weights=False, **settings))
    with pytest.raises(ValueError, match=message):
        list(ModelWeights(adapted).tensors())


def sent_and_received() -> tuple[dict[str, str], dict[str, str]]:
    prints = {published.names[0]: fingerprint(published.tensor) for published in tensors(4, 5, 6)}
    return prints, dict(prints)


def test_a_whole_arrival_is_told_by_one_number() -> None:
    sent, received = sent_and_received()
    assert check_arrival(3, sent, [Received(3, received), Received(3, received)]) == digest(sent)
    assert digest(sent) != digest(sent | {"layer.0.weight": "0"})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda prints: prints.update({"layer.1.weight": "0"}),
            r"layer\.1\.weight arrived with other bytes in worker 1",
        ),
        (lambda prints: prints.pop("layer.2.weight"), r"layer\.2\.weight never arrived in worker 1 \(1 of 3"),
    ],
    ids=["other bytes", "lost"],
)
def test_a_parameter_that_did_not_arrive_is_named(harm: Callable[[dict[str, str]], Any], message: str) -> None:
    sent, received = sent_and_received()
    harm(received)
    with pytest.raises(SyncError, match=message):
        check_arrival(3, sent, [Received(3, sent), Received(3, received)])


def test_workers_of_another_version_without_weights_or_without_an_answer_are_named() -> None:
    sent, received = sent_and_received()
    with pytest.raises(SyncError, match="version 2, not 3"):
        check_arrival(3, sent, [Received(2, received)])
    with pytest.raises(SyncError, match=r"1 weights that nothing was sent for: model\.head"):
        check_arrival(3, sent, [Received(3, received, ("model.head",))])
    with pytest.raises(SyncError, match="no worker"):
        check_arrival(3, sent, [])


def test_a_probe_tells_the_gap_and_the_movement() -> None:
    probe = Probe([1, 2, 3], Tolerance(0.01, 0.02))
    assert probe.check([-1.0, -2.0], [-1.0, -2.01]) == (pytest.approx(0.005), pytest.approx(0.01), None)
    assert probe.check([-1.5, -2.0], [-1.49, -2.0])[2] == pytest.approx(0.49)


def test_a_probe_beyond_the_tolerance_stops_the_run() -> None:
    probe = Probe([1, 2, 3], Tolerance(0.01, 0.02))
    with pytest.raises(SyncError, match=r"token 2 of the probe differs by 0\.5"):
        probe.check([-1.0, -2.0], [-1.0, -2.5])
    with pytest.raises(SyncError):
        probe.check([-1.0, -2.0], [-1.0, float("nan")])
    with pytest.raises(TrainingDiverged, match="actor_learning_rate"):
        probe.check([-1.0, float("nan")], [-1.0, float("nan")])


def test_an_engine_that_stands_still_while_the_trainer_moves_is_found_out() -> None:
    probe = Probe([1, 2], Tolerance(0.01, 0.02))
    probe.check([-1.0], [-1.0])
    probe.check([-1.001], [-1.0])
    with pytest.raises(SyncError, match="older weights"):
        probe.check([-1.009], [-1.0])

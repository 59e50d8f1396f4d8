"""A file of prompts answered by a model: a row of answers for each, and none dropped in silence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from lightrft_apps.chatting.conversation import ChatError
from lightrft_apps.chatting.finding import find_model
from lightrft_apps.chatting.local import load_speaker, senses_of
from lightrft_apps.chatting.manner import Manner, manner_of
from lightrft_apps.chatting.remote import MediaReader, RemoteSpeaker
from lightrft_apps.chatting.rows import Answers, answers_in
from lightrft_apps.chatting.showing import say
from lightrft_apps.config import DataArgs
from lightrft_apps.config.chat import ChatCommand
from lightrft_apps.models import compose
from lightrft_apps.recording.progress import Progress
from lightrft_apps.rewards.judging import build_judge
from lightrft_core import Group, Prompt
from lightrft_strategy.data import LoadedPrompts, PromptDataError, load_prompts
from lightrft_strategy.data.encoder import Encoder
from lightrft_strategy.data.rejected import flags_called

T = TypeVar("T")

AT_ONCE = 8
"""Requests under way at an endpoint elsewhere."""

ASKED_AT_ONCE = {"embedded": 64}
"""Prompts that an engine of this process is given together, whose answers are judged and written together."""

ASKED_OF_OTHERS = 512
JUDGED_AT_ONCE = 32


def answer_file(command: ChatCommand) -> dict[str, int]:
    """Write --output and say how it went. Returns how many rows were answered, could not be, and were rejected.

    The answers are those that `lightrft eval` draws with the same flags.
    Rows are in the file as soon as they are finished, and stay there whatever ends the rest.
    Raises ConfigError, PromptDataError or RewardSetupError if there is nothing to ask, nobody to be asked, or a reward
    that cannot be used.
    """
    answered_by = _answered_here if command.remote.remote is None else _answered_elsewhere
    output = Path(command.file.output or "").expanduser()
    with answers_in(output) as answers, TemporaryDirectory(prefix="lightrft-chat-") as scratch:
        loaded = answered_by(command, Path(scratch), answers)
        answers.write({"source": bad.source, "row": bad.row, "error": bad.reason} for bad in loaded.rejected)
    rejected = len(loaded.rejected)
    for bad in loaded.rejected:
        say(str(bad))
    say(f"{answers.answered} answers in {output}, {answers.failed} prompts without one, {rejected} rows rejected")
    return {"answered": answers.answered, "failed": answers.failed, "rejected": rejected}


def _answered_here(command: ChatCommand, scratch: Path, answers: Answers) -> LoadedPrompts:
    who = command.who
    found = find_model(who.pretrain or "", who.lora_path, who, scratch / "model")
    senses = senses_of(command, found)
    manner = manner_of(command.talk, found, senses)
    loaded = _read(command, manner, senses.tokenizer, senses.encoder, scratch)
    prompts = compose.held_out(loaded.sources)
    law = compose.law_of(command.answers)
    progress = _progress(command, len(prompts), loaded)
    media = compose.most_media([prompts])
    with progress:
        longest = compose.longest_sequence([prompts], 0)
        opened = load_speaker(
            command, found, longest=longest, media=media, progress=progress.advance, say=progress.warn
        )
        with _judging(command, media) as judge, opened as speaker:
            most = ASKED_AT_ONCE.get(command.engine.engine_type, ASKED_OF_OTHERS)
            progress.phase("sample", 0)
            for some in _batches(prompts, most):
                groups = speaker.engine.generate(some, law, step=0)
                _judge(judge, groups)
                answers.add(groups)
    return loaded


def _answered_elsewhere(command: ChatCommand, scratch: Path, answers: Answers) -> LoadedPrompts:
    talk, law = command.talk, compose.law_of(command.answers)
    manner = Manner(True, talk.system_prompt, talk.input_template)
    loaded = _read(command, manner, None, MediaReader(), scratch)
    prompts = [replace(prompt, token_ids=()) for prompt in compose.held_out(loaded.sources)]
    speaker = RemoteSpeaker(command.remote, manner)
    progress = _progress(command, len(prompts), loaded)

    def ask(prompt: Prompt) -> Group:
        try:
            answer = speaker.answer(prompt, law, seed=command.answers.seed, step=0, hear=lambda piece: None)
        except ChatError as error:
            return Group(prompt, [], str(error))
        finally:
            progress.advance(1)
        return Group(prompt, [answer])

    with progress, _judging(command, compose.most_media([prompts])) as judge, ThreadPoolExecutor(AT_ONCE) as threads:
        progress.phase("sample", 0)
        try:
            for groups in _batches(threads.map(ask, prompts), 1 if judge is None else JUDGED_AT_ONCE):
                _judge(judge, groups)
                answers.add(groups)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            speaker.stop()
            raise
        finally:
            speaker.close()
    return loaded


def _batches(items: Iterable[T], most: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, most)):
        yield batch


def _progress(command: ChatCommand, answers: int, loaded: LoadedPrompts) -> Progress:
    progress = Progress(num_steps=1, done=0, answers=answers, live=command.file.progress)
    for warning in loaded.warnings if command.judged else ():
        progress.warn(warning)
    return progress


def _judging(command: ChatCommand, media: dict[str, int]) -> Any:
    if not command.judged:
        return nullcontext()
    trusted = command.who.trust_remote_code
    return build_judge(command.reward(), command.judges, None, media=media, trust_remote_code=trusted)


def _judge(judge: Any, groups: Sequence[Group]) -> None:
    if judge is None:
        return
    for group, verdicts in zip(groups, judge.score(groups, step=0), strict=True):
        for rollout, verdict in zip(group.rollouts, verdicts, strict=True):
            rollout.verdict = verdict


def _read(
    command: ChatCommand, manner: Manner, tokenizer: Any, encoder: Encoder | None, scratch: Path
) -> LoadedPrompts:
    """The prompts of --input."""
    file, talk = command.file, command.talk
    source = Path(file.input or "").expanduser()
    lines = source.suffix == ".txt"
    data = DataArgs(
        str(_rows_of_lines(source, scratch, file.input_key)) if lines else file.input or "",
        prompt_split="test",
        input_key=file.input_key,
        label_key=file.label_key,
        route_key=file.route_key,
        apply_chat_template=manner.templated,
        system_prompt=manner.system,
        input_template=manner.template,
        max_samples=file.max_samples,
        prompt_max_len=talk.prompt_max_len,
        images_key=file.images_key,
        videos_key=file.videos_key,
        audios_key=file.audios_key,
        media_root=file.media_root,
        media_urls=file.media_urls,
    )
    with flags_called({"--prompt_data": "--input"}):
        loaded = load_prompts(compose.prompt_spec(data), tokenizer, encoder)
    if not lines:
        return loaded
    rejected = [replace(bad, source=str(source)) for bad in loaded.rejected]
    return replace(loaded, rejected=rejected, warnings=[])


def _rows_of_lines(source: Path, scratch: Path, key: str) -> Path:
    """A file with one prompt a line as rows, numbered as its lines are. Raises PromptDataError if it is not text."""
    try:
        text = source.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptDataError(f"--input {source} cannot be read: {error}") from error
    rows = scratch / f"{source.name}.jsonl"
    rows.write_text("".join(json.dumps({key: line}) + "\n" if line.strip() else "\n" for line in text.split("\n")))
    return rows

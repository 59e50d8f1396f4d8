"""Talking with models: what `lightrft chat` does once its flags are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps.chatting.batch import answer_file
from lightrft_apps.chatting.finding import find_model
from lightrft_apps.chatting.local import MOST_MEDIA, LocalSpeaker, load_speaker
from lightrft_apps.chatting.manner import Manner
from lightrft_apps.chatting.remote import RemoteSpeaker
from lightrft_apps.chatting.session import Session
from lightrft_apps.chatting.speaker import Speaker
from lightrft_apps.chatting.terminal import Terminal, typed
from lightrft_apps.config.chat import ChatCommand
from lightrft_apps.rewards.judging import build_judge
from lightrft_strategy.devices import keep_freed_memory


def chat(command: ChatCommand) -> None:
    """Talk in the terminal or on a page, or answer a file. Raises ConfigError if a model or a reward cannot be used."""
    keep_freed_memory()
    hide_progress_bars()
    if command.file.input is not None:
        answer_file(command)
        return
    console, beside = Console(highlight=False), Console(stderr=True, highlight=False)
    if command.page.web:
        from lightrft_apps.chatting.web.server import serve_page

        with open_session(command, beside) as session:
            serve_page(session, command.page, console)
        return
    with typed() as read, open_session(command, beside) as session:
        Terminal(session, console).run(read)


@contextmanager
def open_session(command: ChatCommand, console: Console) -> Iterator[Session]:
    """A chat with everybody whom the flags name, and with what judges them; all is let go of with the block."""

    def say(message: str) -> None:
        console.print(message, markup=False, soft_wrap=True)

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="lightrft-chat-")))
        speakers: list[Speaker] = []
        systems: list[str | None] = []
        if command.remote.remote is not None:
            remote = RemoteSpeaker(command.remote, Manner(True, template=command.talk.input_template))
            stack.callback(remote.close)
            speakers.append(remote)
            systems.append(command.talk.system_prompt)
        named = ((command.who.pretrain, command.who.lora_path), (command.who.side_by_side, None))
        for number, (pretrain, lora_path) in enumerate(named):
            if pretrain is None:
                continue
            found = find_model(pretrain, lora_path, command.who, scratch / str(number))
            speaker: LocalSpeaker = stack.enter_context(load_speaker(command, found, say=say))
            speakers.append(speaker)
            systems.append(speaker.manner.system)
        judge = None
        if command.judged:
            media = {modality: MOST_MEDIA for speaker in speakers for modality in speaker.modalities}
            trusted = command.who.trust_remote_code
            judge = stack.enter_context(
                build_judge(command.reward(), command.judges, None, media=media, trust_remote_code=trusted)
            )
        yield Session(speakers, command.answers, judge, systems)

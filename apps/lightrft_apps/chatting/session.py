"""A chat under way: who is asked, what has been said, how answers are drawn and who judges them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from lightrft_apps.chatting.conversation import Answer, Attachment, ChatError, Conversation, Exchange
from lightrft_apps.chatting.speaker import Speaker, Stopped
from lightrft_apps.config.chat import DrawnArgs
from lightrft_apps.models import compose
from lightrft_core import FinishReason, Group, Prompt, Reward, Rollout, Verdict

Hear = Callable[[int, str], None]
"""Called with the place of who is speaking, and the next piece of what he says."""

INTERRUPTED = "interrupted"


class Session:
    """One chat. draw: how answers are drawn; may be set anew at any time. judge: None if nothing judges.

    systems: the system message of each speaker; empty: none. What fails leaves the conversation as it was; `stop` may
    be called, and what has been said be read, by another thread meanwhile.
    """

    def __init__(
        self,
        speakers: Sequence[Speaker],
        draw: DrawnArgs,
        judge: Reward | None = None,
        systems: Sequence[str | None] = (),
    ) -> None:
        self.speakers, self.draw, self.judge = tuple(speakers), draw, judge
        self.conversation = Conversation(tuple(systems))
        self.attachments: tuple[Attachment, ...] = ()
        self._tries = 0

    def attach(self, attachment: Attachment) -> None:
        """Show or play something with the next question. Raises ChatError if somebody who is asked cannot read it."""
        probe = Conversation((), (Exchange("", (attachment,)),))
        for place, speaker in enumerate(self.speakers):
            speaker.prompt(probe, place)
        self.attachments = (*self.attachments, attachment)

    def detach(self) -> None:
        """Show and play nothing with the next question."""
        self.attachments = ()

    def ask(self, text: str, hear: Hear, *, label: Any = None) -> Exchange:
        """Ask everybody, one after another, and have the answers judged.

        An answer is cut short where somebody presses Ctrl-C or `hear` raises Stopped; who comes after is then not asked
        for more than an empty one. Raises ChatError if there can be no answer; nothing has been said then.
        """
        exchange = Exchange(text, self.attachments, label)
        before = self.conversation
        answered = self._answered(before, exchange, hear, tries=0)
        self.conversation, self.attachments, self._tries = before.plus(answered), (), 0
        return answered

    def retry(self, hear: Hear) -> Exchange:
        """Have the last question answered again, with other randomness. Raises ChatError if there is none."""
        asked, before, tries = replace(self._last(), answers=()), self.conversation.before, self._tries + 1
        answered = self._answered(before, asked, hear, tries=tries)
        self.conversation, self._tries = before.plus(answered), tries
        return answered

    def stop(self) -> None:
        """End the wait for an answer from elsewhere."""
        for speaker in self.speakers:
            speaker.stop()

    def undo(self) -> Exchange:
        """Take the last question and its answers back. Raises ChatError if there is none."""
        last = self._last()
        self.conversation, self._tries = self.conversation.before, 0
        return last

    def reset(self) -> None:
        """Begin again; the system messages stay."""
        self.conversation, self.attachments, self._tries = Conversation(self.conversation.systems), (), 0

    def label(self, label: Any) -> Exchange:
        """Say what the last question's right answer is, and have the answers judged by it.

        Raises ChatError if nothing judges, or if nothing has been asked.
        """
        if self.judge is None:
            raise ChatError("nothing judges answers: start with a reward, such as --rule_reward number")
        before = self.conversation.before
        judged = self._judged(before, replace(self._last(), label=label))
        self.conversation = before.plus(judged)
        return judged

    def take(self, conversation: Conversation) -> None:
        """Go on with another conversation. Raises ChatError if somebody who is asked cannot read it."""
        for place, speaker in enumerate(self.speakers):
            if conversation.exchanges:
                speaker.prompt(conversation, place)
        self.conversation, self.attachments, self._tries = conversation, (), 0

    def set_system(self, system: str | None) -> None:
        """Change everybody's system message, from the next answer on for the whole conversation."""
        self.conversation = replace(self.conversation, systems=(system or None,) * len(self.speakers))

    def _last(self) -> Exchange:
        if not self.conversation.exchanges:
            raise ChatError("nothing has been asked yet")
        return self.conversation.exchanges[-1]

    def _answered(self, before: Conversation, exchange: Exchange, hear: Hear, *, tries: int) -> Exchange:
        asked, step = before.plus(exchange), len(before.exchanges)
        prompts = [
            replace(speaker.prompt(asked, place), occurrence=tries) for place, speaker in enumerate(self.speakers)
        ]
        answers: list[Answer] = []
        for place, prompt in enumerate(prompts):
            cut = bool(answers) and answers[-1].finish_reason == INTERRUPTED
            answers.append(Answer("", INTERRUPTED) if cut else self._answer(place, prompt, step, hear))
        return self._judged(before, replace(exchange, answers=tuple(answers)))

    def _answer(self, place: int, prompt: Prompt, step: int, hear: Hear) -> Answer:
        heard: list[str] = []

        def listen(piece: str) -> None:
            heard.append(piece)
            hear(place, piece)

        start = time.perf_counter()
        law = compose.law_of(self.draw)
        try:
            rollout = self.speakers[place].answer(prompt, law, seed=self.draw.seed, step=step, hear=listen)
        except (KeyboardInterrupt, Stopped):
            return Answer("".join(heard), INTERRUPTED, seconds=time.perf_counter() - start)
        seconds = time.perf_counter() - start
        return Answer(rollout.text, rollout.finish_reason.value, len(rollout.token_ids) or None, seconds)

    def _judged(self, before: Conversation, exchange: Exchange) -> Exchange:
        """The exchange with verdicts on its whole answers; those of several to the very same are judged together.

        A judge that fails leaves the answers, and each with a verdict that says why there is no score.
        """
        if self.judge is None:
            return exchange
        asked = before.plus(replace(exchange, answers=()))
        groups: list[Group] = []
        for place, (speaker, answer) in enumerate(zip(self.speakers, exchange.answers, strict=True)):
            if answer.finish_reason == INTERRUPTED:
                continue
            prompt = speaker.prompt(asked, place, label=exchange.label)
            group = next((group for group in groups if group.prompt.messages == prompt.messages), None)
            if group is None:
                groups.append(group := Group(prompt, []))
            reason = FinishReason(answer.finish_reason)
            group.rollouts.append(Rollout(place, [], [], [], reason, answer.text))
        verdicts = dict[int, Verdict]()
        try:
            with _uninterrupted():
                scored = self.judge.score(groups, step=0)
        except (RuntimeError, ValueError, OSError) as error:
            failed = Verdict(None, error=f"{type(error).__name__}: {error}")
            scored = [[failed for _ in group.rollouts] for group in groups]
        for group, judged in zip(groups, scored, strict=True):
            for rollout, said in zip(group.rollouts, judged, strict=True):
                name = f"{group.prompt.uid}, sample {rollout.sample}: "
                verdicts[rollout.sample] = replace(said, error=said.error.replace(name, ""))
        answers = [replace(answer, verdict=verdicts.get(place)) for place, answer in enumerate(exchange.answers)]
        return replace(exchange, answers=tuple(answers))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C do nothing: judges have time-outs of their own, and workers and connections to lose."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

"""How a conversation is written for a model: its chat template, or one text after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightrft_apps.chatting.finding import Found
from lightrft_apps.config import ConfigError, RLConfig, SFTConfig
from lightrft_apps.config.chat import TalkArgs
from lightrft_apps.models.senses import Senses
from lightrft_core import Message
from lightrft_strategy.data import PromptDataError
from lightrft_strategy.data.conversation import check_input_template


@dataclass(frozen=True)
class Manner:
    """templated: in the chat template. system: message at the beginning. template: text with {} around every question.

    Raises ConfigError for a template that has no such place, or not one.
    """

    templated: bool
    system: str | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        if self.template is not None:
            try:
                check_input_template(self.template)
            except PromptDataError as error:
                raise ConfigError([str(error)]) from error

    @property
    def around(self) -> tuple[str, str]:
        """What stands before and after a question, its media included."""
        before, _, after = ("{}" if self.template is None else self.template).format("\0").partition("\0")
        return before, after


def manner_of(talk: TalkArgs, found: Found, senses: Senses) -> Manner:
    """As the flags say; where they are silent as its run did; else in the template if the model has one.

    Raises ConfigError for a chat template that is asked for and not there.
    """
    trained = found.run.data if isinstance(found.run, RLConfig | SFTConfig) else None
    own = senses.adapter is not None or bool(senses.tokenizer.chat_template)
    templated = talk.apply_chat_template
    if templated is None:
        templated = own if trained is None else trained.apply_chat_template
    if templated and not own:
        raise ConfigError([f"--apply_chat_template: {found.name} brings no chat template: leave it out"])
    template, system = talk.input_template, talk.system_prompt
    if trained is not None:
        template, system = template or trained.input_template, system or trained.system_prompt
    return Manner(templated or senses.adapter is not None, system, template)


def continued(messages: Sequence[Message]) -> str:
    """A conversation for a model that knows none, only texts: each answer right after its question."""
    text = ""
    for message in messages:
        gap = "" if message.role == "assistant" or not text else "\n\n"
        text += gap + str(message.content)
    return text

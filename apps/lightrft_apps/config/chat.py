"""What `lightrft chat` is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightrft_apps.config.sections.engine import EngineArgs
from lightrft_apps.config.sections.judges import JudgesArgs
from lightrft_apps.config.sections.model import ModelArgs
from lightrft_apps.config.sections.reward import RewardArgs, RuleArgs
from lightrft_apps.config.sections.rollout import SamplingArgs


@dataclass(frozen=True)
class WhoArgs:
    """Who answers"""

    pretrain: str | None = None
    """a folder, a hub name, smollm2, a run's folder, one of its checkpoints/step_N, or an adapter (LoRA)"""
    lora_path: str | None = None
    """an adapter (LoRA) to put onto the model of pretrain; as pretrain itself it brings the model it was trained on"""
    side_by_side: str | None = None
    """a second one, named as pretrain is, that answers the same beside the first"""
    bf16: bool = False
    """compute in bf16"""
    fp16: bool = False
    """compute in fp16"""
    attn_implementation: str | None = None
    """attention kernel, as transformers names it; its own choice is sdpa"""
    trust_remote_code: bool = False
    """let the model's repository run its own Python code"""

    def model(self, pretrain: str) -> ModelArgs:
        """The same of one model, as other commands are told."""
        return ModelArgs(
            pretrain,
            bf16=self.bf16,
            fp16=self.fp16,
            attn_implementation=self.attn_implementation,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass(frozen=True)
class RemoteArgs:
    """An endpoint elsewhere"""

    remote: str | None = None
    """URL of OpenAI's chat API, such as http://127.0.0.1:8000/v1, that answers in place of pretrain"""
    remote_model: str | None = None
    """what the model is called there"""
    remote_key_env: str | None = None
    """environment variable that holds the API key"""
    remote_timeout: float = 120.0
    """seconds to wait for the endpoint's next word"""


@dataclass(frozen=True)
class DrawnArgs(SamplingArgs):
    """How answers are drawn"""

    temperature: float = 0.7
    """divides the logits: above 1 bolder, below 1 safer; 0: greedy"""
    seed: int = 42
    """the same seed gives the same answers to the same questions"""


@dataclass(frozen=True)
class TalkArgs:
    """The conversation"""

    system_prompt: str | None = None
    """system message at its beginning, for everybody; else a run has its own, and whoever is beside it his"""
    apply_chat_template: bool | None = None
    """write it in the tokenizer's chat template; default: as the run did, else if the tokenizer has one"""
    input_template: str | None = None
    """text around every question, with {} where it goes; of a run, the run's own unless another is given"""
    prompt_max_len: int = 4096
    """longest conversation with its media, in tokens, the next answer not counted"""


@dataclass(frozen=True)
class FileArgs:
    """A file of prompts instead of a conversation"""

    input: str | None = None
    """prompts to answer: .txt with one a line, or rows as lightrft eval reads them (.jsonl, .json, .csv, .parquet)"""
    output: str | None = None
    """new .jsonl file, written as answers are finished: a row each, with the prompt, why it ended, and its rewards"""
    input_key: str = "input"
    """column that holds the prompt"""
    label_key: str = "label"
    """column that holds the right answer"""
    route_key: str = "route"
    """column that names the row's entry in reward_routes"""
    max_samples: int | None = None
    """use only the first so many rows; default: all"""
    images_key: str = "images"
    """column that holds a prompt's image or list of images"""
    videos_key: str = "videos"
    """column that holds a prompt's video or list of videos"""
    audios_key: str = "audios"
    """column that holds a prompt's sound or list of sounds"""
    media_root: str | None = None
    """folder that paths of media are relative to and may not leave; default: that of the file they are named in"""
    media_urls: bool = False
    """fetch media that are given as URLs"""
    progress: bool = True
    """show progress on the terminal"""


@dataclass(frozen=True)
class WebArgs:
    """A page in the browser instead of the terminal"""

    web: bool = False
    """serve a page to chat on; its address, which holds a secret, is printed"""
    host: str = "127.0.0.1"
    """address to listen on; others than 127.0.0.1 let other machines come in, unencrypted, by the same secret"""
    port: int = 7860
    """port to listen on; 0: any that is free"""
    max_upload_mb: int = 32
    """largest image, sound or video that the page takes, in MiB"""


@dataclass(frozen=True, kw_only=True)
class ChatCommand:
    """Everything `lightrft chat` is told."""

    who: WhoArgs = field(default_factory=WhoArgs)
    remote: RemoteArgs = field(default_factory=RemoteArgs)
    talk: TalkArgs = field(default_factory=TalkArgs)
    answers: DrawnArgs = field(default_factory=DrawnArgs)
    rules: RuleArgs = field(default_factory=RuleArgs)
    judges: JudgesArgs = field(default_factory=JudgesArgs)
    engine: EngineArgs = field(default_factory=EngineArgs)
    file: FileArgs = field(default_factory=FileArgs)
    page: WebArgs = field(default_factory=WebArgs)

    def reward(self) -> RewardArgs:
        """How answers are judged, as a run is told; an answer that cannot be judged stops nothing."""
        return RewardArgs(**vars(self.rules), max_reward_error_share=1.0)

    @property
    def judged(self) -> bool:
        """Whether anything judges the answers."""
        return (self.rules, self.judges) != (RuleArgs(), JudgesArgs())

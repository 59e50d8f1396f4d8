"""How answers are sampled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingArgs:
    """How an answer is drawn, in training and in `lightrft eval`."""

    temperature: float = 1.0
    """divides the logits: above 1 bolder, below 1 safer"""
    top_p: float = 1.0
    """sample from the smallest set of tokens that reaches this probability; 1: all"""
    top_k: int = 0
    """sample from this many likeliest tokens; 0: all"""
    logit_bias: dict[str, float] | None = None
    """added to the logits of single tokens, by their ids, such as {"5": -100}"""
    generate_max_len: int = 1024
    """longest answer, in tokens"""
    generate_min_len: int = 0
    """tokens an answer has before a token may end it"""
    stop: str | None = None
    """a text that ends an answer and stays in it, or several as a JSON list: ["</answer>", "User:"]"""
    stop_token_ids: tuple[int, ...] | None = None
    """tokens that end an answer, besides the model's own, such as 5 7"""
    micro_rollout_batch_size: int = 0
    """embedded engine: sequences side by side, but whole prompts at a time; 0: what 4 GiB of keys and values hold"""


@dataclass(frozen=True)
class StepSize:
    """How many answers a step samples."""

    rollout_batch_size: int = 128
    """prompts per step"""
    n_samples_per_prompt: int = 8
    """samples per prompt"""


@dataclass(frozen=True)
class RolloutArgs(SamplingArgs, StepSize):
    """Sampling"""

    use_fire: bool = False
    """draw the first token of an answer boldly, the rest as usual"""
    first_token_temperature: float | None = None
    """with use_fire: temperature of the first token; default: 10"""
    first_token_top_k: int | None = None
    """with use_fire: draw the first token from so many likeliest; 0: all; default: 16"""

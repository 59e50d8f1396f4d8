"""What happens between the judge and the advantage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ShapingArgs:
    """Shaping and filtering of rewards"""

    stop_properly_penalty_coef: float = 1.0
    """multiplies the reward of answers cut off by generate_max_len; below 0: is their reward"""
    overlong_buffer: bool | None = None
    """take reward from answers that end in the last overlong_buffer_len tokens; default: the algorithm's own"""
    overlong_buffer_len: int | None = None
    """length of that buffer, in tokens; default: a fifth of generate_max_len"""
    overlong_buffer_penalty_factor: float | None = None
    """what an answer that fills the buffer loses; default: 1"""
    overlong_filtering: bool | None = None
    """leave answers that were cut off out of the loss; default: the algorithm's own"""
    length_reward_coef: float = 0.0
    """weight of a reward for being among the shorter answers of a prompt"""
    step_reward_coef: float = 0.0
    """weight of the rewards of an answer's steps, each at the token that ends its step; 0: the answer's score alone"""
    reward_clip: float = 0.0
    """bound on the size of a reward; 0: none"""
    reward_running_norm: bool = False
    """divide rewards by their standard deviation so far (also --normalize_reward)"""
    reward_running_norm_minus_mean: bool = False
    """with reward_running_norm: subtract their mean so far"""
    dynamic_sampling: bool | None = None
    """sample anew until every prompt teaches something (also --dynamic_filtering); default: the algorithm's own"""
    dynamic_filtering_reward_range: tuple[float, float] | None = None
    """with dynamic_sampling: keep prompts whose mean accuracy lies strictly between these; default: 0 1"""
    dynamic_sampling_max_rounds: int | None = None
    """with dynamic_sampling: make do with what there is after so many rounds; default: 10"""
    keep_best: int | None = None
    """learn only from this many best answers of a prompt; 0: all; default: the algorithm's own"""
    ttrl: bool = False
    """no labels: reward answers that agree with the majority of their prompt's answers"""

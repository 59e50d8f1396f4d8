"""Whether the flags between judge and advantage fit together, and all have an effect."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.rl import RLConfig


def shaping_problems(config: RLConfig) -> Iterator[str]:
    """What to change about the flags that shape and filter rewards."""
    args, samples = config.shaping, config.rollout.n_samples_per_prompt
    budget = config.rollout.generate_max_len
    if args.overlong_buffer_len is not None and args.overlong_buffer_len > budget:
        yield (
            f"--overlong_buffer_len {args.overlong_buffer_len}: an answer has at most --generate_max_len {budget} "
            "tokens; make the buffer shorter than that"
        )
    if args.keep_best and args.keep_best >= samples:
        yield f"--keep_best {args.keep_best}: a prompt has only --n_samples_per_prompt {samples} answers; keep fewer"
    judges = config.judges
    if args.step_reward_coef and (args.ttrl or (judges.reward_pretrain is None and judges.remote_rm_url is None)):
        yield (
            "--step_reward_coef has no effect: steps are judged by a process reward model, so set --reward_pretrain or "
            "--remote_rm_url, without --ttrl, or leave --step_reward_coef out"
        )
    if args.ttrl:
        yield from _vote_problems(config)


def _vote_problems(config: RLConfig) -> Iterator[str]:
    from lightrft_rewards import RewardSetupError, parse_spec
    from lightrft_rewards.rules import find_rule

    samples, rules = config.rollout.n_samples_per_prompt, config.reward.rule_reward
    if samples < 2:
        yield f"--ttrl with --n_samples_per_prompt {samples}: one answer has no majority; set it to 2 or more"
    if rules is None or config.reward.reward_routes:
        yield "--ttrl reads answers by one rule: set --rule_reward, such as number, and leave out --reward_routes"
        return
    try:
        names = [*parse_spec(rules).weights]
        if len(names) != 1 or find_rule(names[0]).extract is None:
            yield (
                f"--ttrl with --rule_reward {rules}: set it to one rule that reads an answer: number, gsm8k, boxed, "
                "geo3k or multiple_choice"
            )
    except RewardSetupError:
        return  # reward_problems says it

"""From flags to a reward service that runs until it is told to end."""

from __future__ import annotations

import logging
import sys

from lightrft_apps.config import ConfigError, judge_names, rules_by_route
from lightrft_apps.config.commands.serve_reward import ServeCommand, token_of
from lightrft_rewards import RewardPool, Scoring, parse_routes
from lightrft_rewards.scorer import Scorer

LOG = logging.getLogger("lightrft_rewards.service")
LOOPBACK = ("127.", "localhost", "::1")


def serve(command: ServeCommand) -> None:
    """Listen at once, load what judges, and judge until a signal comes.

    Raises ConfigError or RewardSetupError if the reward cannot be used, or the address cannot be listened on.
    """
    try:
        from lightrft_rewards.service.server import RewardServer
        from lightrft_rewards.service.service import ServiceLimits
    except ImportError as error:
        raise ConfigError(
            [f"a reward service needs {error.name}: install it with pip install 'lightrft-rewards[service]'"]
        ) from error
    service, key = command.service, token_of(command.service)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    for noisy in ("uvicorn", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if key is None and not service.host.startswith(LOOPBACK):
        LOG.warning("everybody who reaches %s can use this service: give it a token by --api_key_env", service.host)
    RewardServer(
        lambda: _scorer(command),
        host=service.host,
        port=service.port,
        key=key,
        limits=ServiceLimits(
            max_batch=service.max_batch,
            max_wait=service.max_wait_ms / 1000,
            max_queue=service.max_queue,
            deadline=service.sample_deadline,
            max_request_bytes=service.max_request_mb * 2**20,
            max_held_bytes=service.max_held_mb * 2**20,
        ),
        drain_seconds=service.drain_seconds,
    ).run()


def _scorer(command: ServeCommand) -> Scorer:
    """What judges. A service of rules or of a function loads no torch, and so is there at once and small."""
    reward = command.reward()
    if judge_names(command.judges) or command.judges.reward_gates is not None:
        from lightrft_apps.rewards.judging import build_scorer

        return build_scorer(reward, command.judges, trust_remote_code=command.service.trust_remote_code)
    scoring = Scoring(function=reward.reward_fn) if reward.reward_fn else Scoring(parse_routes(rules_by_route(reward)))
    return RewardPool(scoring, timeout=reward.reward_timeout, num_workers=reward.reward_workers)

"""The configuration and command line of `lightrft serve-reward`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightrft_apps.config.checks.bounds import ABOVE_ZERO, BOUNDS, ONE_OR_MORE, ZERO_OR_MORE, Bound, out_of_bounds
from lightrft_apps.config.checks.reward import reward_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.sections.judges import JudgesArgs
from lightrft_apps.config.sections.reward import RewardArgs, RuleArgs

ABOUT = """\
Judge answers over HTTP: rules, a function of yours, reward models, or a weighted sum of them, for runs elsewhere.

POST /v1/score takes versioned JSON and answers with one result a sample; POST /get_reward speaks OpenRLHF's and the
first LightRFT's dialects. GET /health says whether it is ready, GET /metrics counts. SIGTERM ends it once it has
answered what it has. Runs use it by --remote_rm_url; docs/source/best_practice/reward_service.md has the schema.

examples:
  lightrft serve-reward --rule_reward number:1.0,format:0.2 --port 8000
  lightrft serve-reward --reward_pretrain runs/rm/final --host 0.0.0.0 --api_key_env REWARD_KEY"""

SERVICE_BOUNDS = {
    "port": Bound(lambda x: 0 <= x <= 65535, "a port from 1 to 65535, or to 0 for any that is free"),
    "max_batch": ONE_OR_MORE,
    "max_wait_ms": ZERO_OR_MORE,
    "max_queue": ONE_OR_MORE,
    "max_request_mb": ONE_OR_MORE,
    "max_held_mb": ONE_OR_MORE,
    "sample_deadline": ABOVE_ZERO,
    "drain_seconds": ZERO_OR_MORE,
}


@dataclass(frozen=True)
class ServiceArgs:
    """The service"""

    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 for all of this machine, which should go with a token"""
    port: int = 8000
    """port to listen on; 0: any that is free"""
    api_key_env: str | None = None
    """environment variable that holds the token clients must send; default: no token"""
    api_key_file: str | None = None
    """file that holds it instead"""
    max_batch: int = 64
    """samples that are judged together at most, of one request or of several"""
    max_wait_ms: float = 2.0
    """milliseconds that a sample waits for others to be judged together with"""
    max_queue: int = 4096
    """samples that wait at most; requests beyond are told to come again"""
    max_request_mb: int = 64
    """largest request in MiB"""
    max_held_mb: int = 1024
    """MiB of requests that are being answered at most; more are told to come again"""
    sample_deadline: float = 60.0
    """seconds to judge a sample, waiting included, where its request names none"""
    drain_seconds: float = 60.0
    """seconds that an ending service has to answer what it has"""
    trust_remote_code: bool = False
    """let repositories of reward models run their own Python code"""


@dataclass(frozen=True, kw_only=True)
class ServeCommand:
    """Everything `lightrft serve-reward` is told."""

    rules: RuleArgs = field(default_factory=RuleArgs)
    judges: JudgesArgs = field(default_factory=JudgesArgs)
    service: ServiceArgs = field(default_factory=ServiceArgs)

    def reward(self) -> RewardArgs:
        """How answers are judged, as a run is told."""
        return RewardArgs(**vars(self.rules))


def parse_serve(argv: Sequence[str]) -> ServeCommand:
    """The checked arguments. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft serve-reward"):
        command = parse(ServeCommand, argv, prog="lightrft serve-reward", about=ABOUT)
        problems = [
            *reward_problems(command.reward(), command.judges),
            *out_of_bounds(to_flat(command), BOUNDS | SERVICE_BOUNDS),
            *_service_problems(command.service),
        ]
        if problems:
            raise ConfigError(problems)
        return command


def _service_problems(service: ServiceArgs) -> Iterator[str]:
    if service.api_key_env is not None and service.api_key_file is not None:
        yield "--api_key_env and --api_key_file both name a token: leave one of them out"
    if service.api_key_env is not None and not os.environ.get(service.api_key_env, "").strip():
        yield f"--api_key_env {service.api_key_env}: there is no such environment variable, or it is empty"
    if service.api_key_file is not None and not _written(service.api_key_file):
        yield f"--api_key_file {service.api_key_file}: there is no such file, or it is empty"
    if service.max_held_mb < service.max_request_mb:
        yield (
            f"--max_held_mb {service.max_held_mb} is less than --max_request_mb {service.max_request_mb}: "
            "set it to as much at least"
        )


def token_of(service: ServiceArgs) -> str | None:
    """The token that clients must send; None if they need none."""
    if service.api_key_env is not None:
        return os.environ[service.api_key_env].strip()
    return None if service.api_key_file is None else _written(service.api_key_file)


def _written(file: str) -> str:
    path = Path(file).expanduser()
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""

"""A reward service in a process of its own, for tests and benchmarks that kill it.

python reward_server.py PORT file.py:function
"""

from __future__ import annotations

import sys

from lightrft_rewards import RewardPool, Scoring
from lightrft_rewards.service.server import RewardServer


def main(port: int, target: str) -> None:
    """Serve a function until a signal comes."""
    RewardServer(lambda: RewardPool(Scoring(function=target), timeout=60.0, num_workers=2), port=port).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

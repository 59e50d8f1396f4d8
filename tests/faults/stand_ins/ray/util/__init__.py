"""Placement groups of one machine."""

from __future__ import annotations


class placement_group:
    def __init__(self, bundles: list[dict[str, int]], strategy: str) -> None:
        assert strategy == "STRICT_SPREAD"
        self.bundles = bundles

    def wait(self, timeout_seconds: float) -> bool:
        return True


def get_node_ip_address() -> str:
    return "127.0.0.1"

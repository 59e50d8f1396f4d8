"""`lightrft audit-logprobs`: whether engine and trainer agree, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.audit_logprobs import parse_audit


def main(argv: Sequence[str]) -> None:
    """Run `lightrft audit-logprobs` with these words. Raises SystemExit with code 1 if the verdict is FAIL."""
    command = parse_audit(argv)
    from lightrft_apps.engines.audit import audit_logprobs  # imports torch, which --help does not wait for

    if audit_logprobs(command)["verdict"] == "FAIL":
        raise SystemExit(1)

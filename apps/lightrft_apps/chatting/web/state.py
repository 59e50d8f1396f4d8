"""A session as the page shows it, in JSON."""

from __future__ import annotations

import math
from typing import Any

from lightrft_apps.chatting.conversation import Answer, Exchange
from lightrft_apps.chatting.session import Session
from lightrft_apps.chatting.settings import described, settings
from lightrft_apps.chatting.showing import footer
from lightrft_apps.config.reading.text import as_text
from lightrft_core import Verdict


def state_of(session: Session) -> dict[str, Any]:
    """Everything that the page shows."""
    abouts = described()
    systems = session.conversation.systems
    modalities = [set(speaker.modalities) for speaker in session.speakers]
    return {
        "names": [speaker.name for speaker in session.speakers],
        "modalities": sorted(set.intersection(*modalities)),
        "judged": session.judge is not None,
        "system": systems[0] or "" if len(set(systems)) == 1 else "",
        "own_systems": len(set(systems)) > 1,
        "settings": [
            {"name": name, "value": as_text(value), "about": abouts[name]}
            for name, value in settings(session.draw).items()
        ],
        "waiting": [{"modality": one.modality, "name": one.name} for one in session.attachments],
        "exchanges": [exchange_of(exchange) for exchange in session.conversation.exchanges],
    }


def exchange_of(exchange: Exchange) -> dict[str, Any]:
    """A question and its answers."""
    return {
        "text": exchange.text,
        "label": None if exchange.label is None else str(exchange.label),
        "attachments": [{"modality": one.modality, "name": one.name} for one in exchange.attachments],
        "answers": [_answer(answer) for answer in exchange.answers],
    }


def _answer(answer: Answer) -> dict[str, Any]:
    verdict = None if answer.verdict is None else _verdict(answer.verdict)
    return {"text": answer.text, "footer": footer(answer), "verdict": verdict}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "score": _number(verdict.score),
        "parts": {name: _number(value) for name, value in verdict.parts.items()},
        "steps": [_number(value) for _, value in verdict.steps],
        "notes": dict(verdict.notes),
        "error": verdict.error or ("judging took too long" if verdict.timed_out else ""),
    }


def _number(value: float | None) -> str | None:
    """A number as it is shown; JSON has no form for those that are not finite."""
    return None if value is None else f"{value:.4g}" if math.isfinite(value) else str(value)

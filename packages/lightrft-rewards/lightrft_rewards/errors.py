"""What can go wrong with rewards, as a user meets it."""

from __future__ import annotations


class RewardSetupError(ValueError):
    """A reward that cannot run at all: no such file, function or rule, a bad signature, a module that fails to load."""


class RewardFailure(RuntimeError):
    """Too many samples of one call could not be judged; the message shows the first of them."""


class LabelError(ValueError):
    """A label that is missing, or that the rule cannot read. Never a zero: the answer has not been judged."""


class CallError(Exception):
    """A user function's call that failed as a whole: it raised, or what it returned does not fit its samples."""

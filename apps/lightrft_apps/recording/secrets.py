"""What no page may show: keys and passwords that somebody wrote into a configuration."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

HIDDEN = "(hidden)"

_NAMES = re.compile(
    r"api_?key|access_?key|private_?key|secret|passw|credential|authori[sz]ation|bearer|(^|_)auth($|_)|(^|_)(token|key)$",
    re.IGNORECASE,
)
_VALUES = re.compile(
    r"(?<=://)[^/\s@]+@"
    r"|(?<=[?&;])[\w-]*(?:key|token|secret|password|signature|sig)[\w-]*=[^&\s]+"
    r"|\b(?:sk|pk|rk)-[\w-]{12,}|\bhf_\w{12,}|\bghp_\w{12,}|\bgithub_pat_\w{12,}|\bAKIA\w{12,}|\bAIza[\w-]{20,}"
    r"|\bey[\w-]{10,}\.[\w-]{10,}\.[\w-]*|(?<=[Bb]earer )\S+",
    re.IGNORECASE,
)


def without_secrets(values: Mapping[str, Any], known: Collection[str] = ()) -> dict[str, Any]:
    """The same, with what looks like a secret hidden, by its name or by how it is written; mappings within it too.

    known: names that are no secret's, whatever they look like.
    """
    return {
        str(name): HIDDEN if value and name not in known and _NAMES.search(str(name)) else _clean(value)
        for name, value in values.items()
    }


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return _VALUES.sub(HIDDEN, value) if isinstance(value, str) else value

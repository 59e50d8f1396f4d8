"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): a question, and a worked solution that ends in `#### 72`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_strategy.data.formats.fields import text_of
from lightrft_strategy.data.rejected import RowError


def gsm8k(content: Mapping[str, Any]) -> dict[str, Any]:
    """The question; the label is the number behind `####`. Raises RowError for a row of another form."""
    _, hashes, number = text_of(content, "answer").rpartition("####")
    if not hashes or not number.strip():
        raise RowError('its "answer" does not end in #### and a number')
    return {"input": text_of(content, "question"), "label": number.strip(), "route": "gsm8k"}

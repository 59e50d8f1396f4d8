"""Prompt data: rows of any source read into prompts, and the order in which a run reads them."""

from lightrft_strategy.data.encoder import Encoder
from lightrft_strategy.data.overlap import overlap
from lightrft_strategy.data.prompts import LoadedPrompts, load_prompts
from lightrft_strategy.data.rejected import PromptDataError, Rejected, write_rejected
from lightrft_strategy.data.spec import PromptSpec
from lightrft_strategy.data.stream import PromptStream

__all__ = [
    "Encoder",
    "LoadedPrompts",
    "PromptDataError",
    "PromptSpec",
    "PromptStream",
    "Rejected",
    "load_prompts",
    "overlap",
    "write_rejected",
]

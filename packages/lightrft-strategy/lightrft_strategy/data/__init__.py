"""Prompts and examples: rows of any source read into them, and the order in which a run reads them."""

from lightrft_strategy.data.encoder import Encoder
from lightrft_strategy.data.example_spec import ExampleSpec
from lightrft_strategy.data.examples import ExampleStream, LoadedExamples, load_examples
from lightrft_strategy.data.formats import FORMATS, find_format, split_format
from lightrft_strategy.data.overlap import overlap
from lightrft_strategy.data.prompts import LoadedPrompts, load_prompts
from lightrft_strategy.data.rejected import PromptDataError, Rejected, flags_called, write_rejected
from lightrft_strategy.data.spec import PromptSpec
from lightrft_strategy.data.stream import PromptStream

__all__ = [
    "FORMATS",
    "Encoder",
    "ExampleSpec",
    "ExampleStream",
    "LoadedExamples",
    "LoadedPrompts",
    "PromptDataError",
    "PromptSpec",
    "PromptStream",
    "Rejected",
    "find_format",
    "flags_called",
    "load_examples",
    "load_prompts",
    "overlap",
    "split_format",
    "write_rejected",
]

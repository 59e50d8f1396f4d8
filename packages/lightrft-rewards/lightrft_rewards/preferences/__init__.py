"""Preference data: every source read into comparisons. Needs the extra lightrft-rewards[models]."""

from lightrft_rewards.preferences.comparison import Answer, Comparison, side_by_chance
from lightrft_rewards.preferences.handler import Handler, Place, Sheet, open_tables, row_by_row
from lightrft_rewards.preferences.keys import PreferenceKeys
from lightrft_rewards.preferences.load import LoadedComparisons, load_comparisons
from lightrft_rewards.preferences.spec import handler_names

__all__ = [
    "Answer",
    "Comparison",
    "Handler",
    "LoadedComparisons",
    "Place",
    "PreferenceKeys",
    "Sheet",
    "handler_names",
    "load_comparisons",
    "open_tables",
    "row_by_row",
    "side_by_chance",
]

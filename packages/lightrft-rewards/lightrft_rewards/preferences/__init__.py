"""Preference data: every source read into comparisons. Needs the extra lightrft-rewards[models]."""

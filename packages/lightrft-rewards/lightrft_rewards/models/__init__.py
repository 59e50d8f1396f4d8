"""Reward models: scalar and generative, trained and asked. Needs the extra lightrft-rewards[models]."""

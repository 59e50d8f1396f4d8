"""What samples: engines of LightRFT's own and of other packages, and whether they agree with the trainer."""

from lightrft_apps.engines.own import EngineNeeds, open_engine

__all__ = ["EngineNeeds", "open_engine"]

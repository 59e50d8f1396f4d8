"""What a shell may offer after `lightrft`, read off the configurations of its commands, as a script for that shell."""

from lightrft_apps.completing.offers import Offer, offers
from lightrft_apps.completing.scripts import SCRIPTS, script

__all__ = ["SCRIPTS", "Offer", "offers", "script"]

"""What a shell may offer after `lightrft`, read off the configurations of its commands, as a script for that shell."""

from lightrft_apps.commands.completing.offers import Offer, offers
from lightrft_apps.commands.completing.scripts import SCRIPTS, script

__all__ = ["SCRIPTS", "Offer", "offers", "script"]

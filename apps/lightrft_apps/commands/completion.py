"""`lightrft completion`: what makes a shell complete commands, flags and their values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

ABOUT = """\
Print a script after which bash, zsh or fish completes lightrft's commands, their flags, and the values of flags that
take one of a few; for other values it offers files. The script is text alone: completing starts no Python.

  bash    source <(lightrft completion bash)          # for good: this line in ~/.bashrc
  zsh     source <(lightrft completion zsh)           # after compinit; for good: in ~/.zshrc
  fish    lightrft completion fish | source           # for good: > ~/.config/fish/completions/lightrft.fish

Print it anew after an update of LightRFT.
"""


def main(argv: Sequence[str]) -> None:
    """Run `lightrft completion` with these words."""
    parser = argparse.ArgumentParser(
        prog="lightrft completion", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    shell = parser.parse_args(argv).shell
    from lightrft_apps.commands.completing import script

    sys.stdout.write(script(shell))

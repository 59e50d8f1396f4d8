"""The `lightrft` command: dispatches to its subcommands, and turns expected failures into a line of text."""

from __future__ import annotations

import importlib
import os
import sys

COMMANDS = {
    "quickstart": "watch a small language model learn to add, in minutes, on any computer",
    "rl": "reinforcement fine-tuning of a language model on your prompts and rewards",
    "sft": "supervised fine-tuning of a language model on answers that are given",
    "srm": "a scalar reward model from comparisons, in text, images, videos and sounds",
    "grm": "a generative reward model, which says of two answers which is better",
    "launch": "one of these commands in several processes of this machine",
    "chat": "a conversation with a model, a run or an endpoint, in the terminal or on a page",
    "watch": "a run looked at while it goes, from any terminal",
    "eval": "accuracy of a model on held-out prompts, with intervals",
    "eval-rm": "how far reward models agree with people: accuracy, calibration, biases",
    "serve-reward": "rules, a function or reward models as a service over HTTP",
    "reward": "a run's saved answers judged once more, to compare (lightrft reward replay RUN)",
    "audit-logprobs": "whether sampling engine and trainer agree, before you train",
    "plan": "memory and time of a run before it starts, and which flag to change",
    "doctor": "what ails this machine, or a run: who waits for whom, and the stack of what is stuck",
    "merge-lora": "a trained adapter and its model as one plain model",
    "export": "a run's checkpoint, of any strategy, as a Hugging Face folder",
    "import": "another trainer's checkpoint (DCP, DeepSpeed ZeRO) as a Hugging Face folder",
    "algorithms": "the algorithms there are, and which flag overrides which of their pieces",
    "report": "runs as one page to look at: curves, and every answer token by token",
    "completion": "commands and flags completed by bash, zsh or fish",
    "compare": "several algorithms on one task, several seeds each, side by side",
}

USAGE = "\n".join(
    [
        "usage: lightrft COMMAND [--flag value ...]",
        "",
        "Reinforcement fine-tuning that is light, omni-modal and reward-model driven.",
        "",
        "commands:",
        *(f"  {name:<14} {about}" for name, about in COMMANDS.items()),
        "",
        "lightrft COMMAND --help shows a command's flags.",
    ]
)


def main() -> None:
    """Entry point of the console script.

    GOMP_SPINCOUNT, which must be there before torch is: threads that wait for each other soon sleep. Spinning on, as
    they would, makes a run ten times slower on a computer that is also used for something else.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE + "\n")
        return
    if words[0] not in COMMANDS:
        sys.stderr.write(f"lightrft: there is no command {words[0]!r}\n\n{USAGE}\n")
        raise SystemExit(2)
    from lightrft_apps.failures import explained

    with explained(f"lightrft {words[0]}"):
        importlib.import_module(f"lightrft_apps.commands.{words[0].replace('-', '_')}").main(words[1:])

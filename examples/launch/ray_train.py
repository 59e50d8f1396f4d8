"""A run on a Ray cluster: Ray places the processes and gives each its environment, the program is the same.

    pip install "ray[train]"
    python examples/launch/ray_train.py --workers 16 -- --config run.yaml --fsdp

Everything after -- goes to `lightrft rl`. The run's folder must be on storage that all nodes share.
"""

import argparse
import sys


def work(words: dict[str, list[str]]) -> None:
    from lightrft_apps.commands import rl

    rl.main(words["words"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, help="processes, one for each GPU")
    parser.add_argument("--restarts", type=int, default=3, help="times to go on from the newest checkpoint")
    parser.add_argument("words", nargs="*", metavar="-- FLAGS", help="flags of lightrft rl, behind --")
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    arguments, words = parser.parse_args(own), sys.argv[2 + len(own) :]
    if not words:
        parser.error("say what to run: -- and the flags of lightrft rl behind it, such as -- --config run.yaml")
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # --help needs no Ray
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        work,
        train_loop_config={"words": words},
        scaling_config=ScalingConfig(num_workers=arguments.workers, use_gpu=True),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=arguments.restarts)),
    ).fit()


if __name__ == "__main__":
    main()

"""A run on a Ray cluster: Ray places the processes and gives each its environment, the program is the same.

    pip install "ray[train]"
    python examples/launch/ray_train.py --workers 16 -- --config run.yaml --fsdp

Everything after -- goes to `lightrft rl`. The run's folder must be on storage that all nodes share.
"""

import argparse
import sys


def work(words: dict[str, list[str]]) -> None:
    from lightrft_apps import rl

    rl.main(words["words"])


def main() -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, help="processes, one for each GPU")
    parser.add_argument("--restarts", type=int, default=3, help="times to go on from the newest checkpoint")
    arguments = parser.parse_args(sys.argv[1 : sys.argv.index("--")])
    TorchTrainer(
        work,
        train_loop_config={"words": sys.argv[sys.argv.index("--") + 1 :]},
        scaling_config=ScalingConfig(num_workers=arguments.workers, use_gpu=True),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=arguments.restarts)),
    ).fit()


if __name__ == "__main__":
    main()

"""A run on a Ray cluster: Ray chooses the nodes and holds them, and a torchrun on each starts the processes.

    pip install ray
    python examples/launch/ray_train.py --nodes 2 --nproc_per_node 8 -- --config run.yaml --fsdp

Everything after -- goes to `lightrft rl`. LightRFT has to be installed on every node; the folder this is started in and
that of the run have to be on storage that all nodes share. Started again, the run goes on from its newest checkpoint.
"""

import argparse
import socket
import subprocess
import sys
from pathlib import Path


class Node:
    """The torchrun of a node, as an actor. What it prints, Ray brings to the terminal."""

    def address(self) -> str:
        """Of this node, with a port that is free."""
        from ray.util import get_node_ip_address

        with socket.socket() as free:
            free.bind(("", 0))
            return f"{get_node_ip_address()}:{free.getsockname()[1]}"

    def start(self, meets_here: bool, words: list[str], folder: str) -> None:
        """torchrun is told its address: it would look up the node's name, which may stand for 127.0.0.1 there."""
        from ray.util import get_node_ip_address

        here = ["--local-addr", get_node_ip_address(), "--rdzv-conf", f"is_host={meets_here}"]
        self.torchrun = subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *here, *words], cwd=folder)

    def wait(self) -> int:
        return self.torchrun.wait()

    def stop(self) -> None:
        """Have torchrun end its processes."""
        self.torchrun.terminate()
        self.torchrun.wait()


def run(nodes: int, processes: int, resource: str, words: list[str]) -> int:
    """torchrun with these words on so many nodes: the exit code of the first to fail, which ends the others, or 0."""
    import ray  # --help needs no Ray
    from ray.util import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    ray.init()
    group = placement_group([{resource: processes}] * nodes, strategy="STRICT_SPREAD")
    while not group.wait(60):
        print(f"waiting for {nodes} nodes with {processes} {resource} each: `ray status` shows what there is")
    needs = {"CPU": {"num_cpus": processes}, "GPU": {"num_cpus": 0, "num_gpus": processes}}
    need = needs.get(resource, {"num_cpus": 0, "resources": {resource: processes}})
    places = [PlacementGroupSchedulingStrategy(group, number) for number in range(nodes)]
    node = ray.remote(Node)
    actors = [node.options(max_concurrency=2, scheduling_strategy=place, **need).remote() for place in places]
    meeting = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", ray.get(actors[0].address.remote())]
    try:
        ray.get([actor.start.remote(actor is actors[0], [*meeting, *words], str(Path.cwd())) for actor in actors])
        code, going = 0, [actor.wait.remote() for actor in actors]
        while going and not code:
            (ended,), going = ray.wait(going)
            code = ray.get(ended)
        return code
    finally:
        ray.wait([actor.stop.remote() for actor in actors], num_returns=nodes, timeout=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--nproc_per_node", type=int, default=8, help="processes, one for each accelerator")
    parser.add_argument("--max_restarts", type=int, default=3, help="times to begin again after a process died")
    parser.add_argument("--resource", default="GPU", help="what a process needs one of, as Ray calls it: GPU, NPU, CPU")
    parser.add_argument("words", nargs="*", metavar="-- FLAGS", help="flags of lightrft rl, behind --")
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    arguments, words = parser.parse_args(own), sys.argv[2 + len(own) :]
    if not words:
        parser.error("say what to run: -- and the flags of lightrft rl behind it, such as -- --config run.yaml")
    processes = arguments.nproc_per_node
    torchrun = ["--nproc-per-node", str(processes), "--max-restarts", str(arguments.max_restarts)]
    program = ["-m", "lightrft_apps", "rl", *words]
    raise SystemExit(run(arguments.nodes, processes, arguments.resource, [*torchrun, *program]))


if __name__ == "__main__":
    main()

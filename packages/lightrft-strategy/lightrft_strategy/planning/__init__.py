"""What a run will need and take on machines that need not be there: memory and time of each phase, for one rank."""

from lightrft_strategy.planning.accelerators import GIB, KNOWN, Accelerator, this_machine
from lightrft_strategy.planning.holding import Holding
from lightrft_strategy.planning.memory import Engine, Job, Phase, plan_memory
from lightrft_strategy.planning.seconds import Work, plan_work
from lightrft_strategy.planning.subject import Subject, empty_model
from lightrft_strategy.planning.workload import Workload

__all__ = [
    "GIB",
    "KNOWN",
    "Accelerator",
    "Engine",
    "Holding",
    "Job",
    "Phase",
    "Subject",
    "Work",
    "Workload",
    "empty_model",
    "plan_memory",
    "plan_work",
    "this_machine",
]

"""The processes of one training on one machine, and the CPUs of each."""

import os
import warnings

import torch


def rank() -> int:
    """Of this process, among all; 0 writes."""
    return int(os.environ.get("RANK", 0))


def share_cpus() -> int:
    """Keeps this process, and the sandbox workers that it starts, to its share of the CPUs.

    `torchrun` starts a process per GPU or per `--nproc_per_node`; left alone, the workers of all
    would meet on the same CPUs. A share that would be empty is not taken.

    Returns:
        CPUs that this process may use.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = sorted(os.sched_getaffinity(0))
    local, count = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    own = cpus[local::count]
    if count > 1 and own:
        os.sched_setaffinity(0, own)
        cpus = own
    return len(cpus)


def set_threads(threads: int | None, *, small: bool, cpus: int) -> None:
    """PyTorch's threads on a CPU: one where the matrices are small, else the process's CPUs."""
    if threads is None:
        threads = 1 if small else cpus
    torch.set_num_threads(threads)


def quiet() -> None:
    """Without bars of a blink for loading and saving, and libraries' words to their own makers."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|torch)\.")

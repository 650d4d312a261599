"""One of two processes that train together on the CPU: what nnU-Net's ``run_ddp`` does, but for what needs a GPU.

Replaced are the backend (gloo for nccl), the device that nnU-Net gives every process, and torch's wrapper around the
network, which takes no number of a GPU on a CPU. All else is nnU-Net's and ours.

    python one_of_two_processes.py RANK RENDEZVOUS FOLDER JOBS

JOBS is JSON, a list of arguments of ``train``: one training after the other. What a process then knows of it is written
to ``FOLDER/<trainer>_<rank>.pt``. Where ``FOLDER/batches_<trainer>.pt`` exists, the process is fed its share of those;
``losses`` are what each process takes for its own losses of every epoch.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch


class OnCpu(torch.nn.parallel.DistributedDataParallel):
    def __init__(self, module, device_ids):
        super().__init__(module)


def share(batch, first, count):
    """Some images of a batch."""
    part = slice(first, first + count)
    return {"data": batch["data"][part], "target": [scale[part].clone() for scale in batch["target"]]}


def fed(trainer, batches, rank):
    """Loaders that give this process its images of batches told in advance."""
    sizes = [0, 0]
    torch.distributed.all_gather_object(sizes, trainer.batch_size)
    first = sum(sizes[:rank])
    training, validation = ([share(batch, first, sizes[rank]) for batch in part] for part in batches)
    return iter(training), iter(validation)


def telling(trainer, step, losses, seen):
    """An iteration that keeps what it is given, and says the loss that is told."""

    def iterate(batch):
        seen.append(tuple(batch["data"].shape))
        found = step(batch)
        return {**found, "loss": np.array(losses[trainer.current_epoch])} if losses else found

    return iterate


def train(folder, rank, dataset, configuration, trainer, plans, losses=None, continues=False, validates=False):
    from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

    torch.manual_seed(0)
    made = get_trainer_from_args(dataset, configuration, 0, trainer, plans, continues)
    made.device = torch.device("cpu")
    maybe_load_checkpoint(made, continues, False, None)
    if not made.was_initialized:
        made.initialize()
    known = {"weights at first": copy.deepcopy(made.network.module.state_dict()), "epoch at first": made.current_epoch}
    told = folder / f"batches_{trainer}.pt"
    if told.is_file():
        batches = torch.load(told, weights_only=False)
        made.get_dataloaders = lambda: fed(made, batches, rank)
    seen, own = [], losses and losses[rank]
    made.train_step = telling(made, made.train_step, own, seen)
    made.validation_step = telling(made, made.validation_step, own, seen)
    made.run_training()
    if validates:
        made.perform_actual_validation(False)
    known |= {
        "weights": made.network.module.state_dict(),
        "logging": made.logger.get_checkpoint(),
        "epoch": made.current_epoch,
        "share": (made.batch_size, made.oversample_foreground_percent),
        "seen": seen,
    }
    torch.save(known, folder / f"{trainer}_{rank}.pt")


def main(rank, rendezvous, folder, jobs):
    torch.nn.parallel.DistributedDataParallel = OnCpu  # nnU-Net takes it by name when it is imported
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    MetaLogger.plot_progress_png = lambda *_: None  # seconds each
    for job in jobs:
        train(folder, rank, **job)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":  # validation starts processes, which import this file
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4]))

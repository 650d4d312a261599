"""Whether the parts of a trainer go together with each other and with the plans: asked before any data is loaded."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.errors import TrainingError
from nnunet_kits.losses.build import check_parameters
from nnunet_kits.training.names import PLANNED, TrainerName
from nnunet_kits.training.published import PUBLISHED
from nnunet_kits.training.sampling import SAMPLINGS

FEWEST_STAGES = 3
"""With deep supervision: two resolutions have one output, to which nnU-Net gives weight 0, so the loss would be NaN."""


def network_class(network: str, planned: str) -> type:
    """The class of a network.

    Args:
        network: key of ``NETWORKS`` or ``PlannedUNet``.
        planned: dotted path of the plans' own network.

    Raises:
        TrainingError: it cannot be imported; the message says what of.
    """
    path = planned if network == PLANNED else NETWORKS[network].factory
    module, _, name = path.rpartition(".")
    try:
        found: type = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TrainingError(f"network {network} ({path}) cannot be imported: {error}.") from error
    return found


def supports_deep_supervision(network: type) -> bool:
    """Whether a network has outputs at several resolutions; one that has not says so by a class attribute."""
    return bool(getattr(network, "supports_deep_supervision", True))


def check_dimensions(
    trainer: str, parts: TrainerName, network: type, configuration: str, patch_size: Sequence[int]
) -> None:
    """Refuse a 2D part with 3D patches, and the other way round.

    Args:
        trainer: its name.
        parts: of its name.
        network: the network's class; one for 2D or 3D alone says so by a class attribute ``dimensions``.
        configuration: name of the configuration.
        patch_size: of the configuration.

    Raises:
        TrainingError: which part, and what it needs.
    """
    needs: list[tuple[str, Sequence[int]]] = [
        (f"network {parts.network}", getattr(network, "dimensions", (2, 3))),
        (f"sampling {parts.sampling}", SAMPLINGS[parts.sampling].dimensions),
    ]
    if parts.published:
        found = PUBLISHED[parts.published]
        needs.insert(0, (f"{parts.published} (its plans: {found.plans})", (found.dimensions,)))
    for what, dimensions in needs:
        if len(patch_size) not in dimensions:
            raise TrainingError(
                f"{trainer}: {what} needs a {dimensions[0]}D configuration, but {configuration} has patches of "
                f"{' x '.join(map(str, patch_size))} voxels. Train another configuration, or another trainer."
            )


def check_batch(trainer: str, parts: TrainerName, configuration: str, batch_size: int) -> None:
    """Refuse a batch that the sampling cannot make.

    Raises:
        TrainingError: the batch, and which sizes are possible.
    """
    times = SAMPLINGS[parts.sampling].images_per_case
    if batch_size % times:
        raise TrainingError(
            f"{trainer}: {parts.sampling} makes {times} images of every patch, but configuration {configuration} has a "
            f"batch_size of {batch_size}. Set a multiple of {times} in the plans, for example {times * 2}."
        )


def check_patch(trainer: str, parts: TrainerName, network: type, configuration: str, patch_size: Sequence[int]) -> None:
    """Refuse a patch that the network cannot halve as often as it does, whatever the plans' strides are.

    Args:
        trainer: its name.
        parts: of its name.
        network: the network's class; one with strides of its own says by a class attribute ``patch_multiple`` what
            edges it takes.
        configuration: name of the configuration.
        patch_size: of the configuration.

    Raises:
        TrainingError: the patch, and what it must be a multiple of.
    """
    multiple = getattr(network, "patch_multiple", 1)
    if any(edge % multiple for edge in patch_size):
        raise TrainingError(
            f"{trainer}: network {parts.network} needs patches whose edges are multiples of {multiple}, but "
            f"configuration {configuration} has {' x '.join(map(str, patch_size))}. Change patch_size in the plans."
        )


def check_mixup(trainer: str, parts: TrainerName, batch_size: int) -> None:
    """Refuse to mix the images of a batch of one.

    Args:
        trainer: its name.
        parts: of its name.
        batch_size: images per process.

    Raises:
        TrainingError: the batch.
    """
    if parts.mixup and batch_size < 2:
        raise TrainingError(
            f"{trainer}: Mixup mixes images of a batch, but the plans' batch_size leaves {batch_size} image per "
            "process. Set at least 2 per GPU in the plans."
        )


def check_processes(trainer: str, patches: int, processes: int) -> None:
    """Refuse more processes than there are patches in a batch whose patches are made into several images each.

    Raises:
        TrainingError: both numbers.
    """
    if patches < processes:
        raise TrainingError(
            f"{trainer}: the batch is made of {patches} patches, which {processes} processes cannot share. "
            f"Set a larger batch_size in the plans, or train on {patches} GPUs."
        )


def check_stages(trainer: str, plans: str, stages: int) -> None:
    """Refuse a network with too few resolutions for deep supervision.

    Raises:
        TrainingError: how many there are, and how many are needed.
    """
    if stages < FEWEST_STAGES:
        raise TrainingError(
            f"{trainer}: plans {plans} have {stages} stages, but deep supervision needs at least {FEWEST_STAGES} "
            "(nnU-Net gives the lowest of its outputs weight 0, so one alone would be a NaN loss). Plan a larger patch."
        )


def check_loss_parameters(trainer: str, configuration: str, given: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse parameters of a loss that does not exist, or that it cannot have.

    Raises:
        TrainingError: the loss or parameter, and what is allowed.
    """
    for loss, parameters in given.items():
        try:
            check_parameters(loss, parameters)
        except TrainingError as error:
            where = f"{trainer}: kits_training.loss_parameters of configuration {configuration}"
            raise TrainingError(f"{where}: {error}") from error


def check_imagenet_weights(trainer: str, configuration: str, given: str) -> None:
    """Refuse a file of encoder weights that does not exist.

    Raises:
        TrainingError: the file.
    """
    if given not in ("hub", "none") and not Path(given).is_file():
        raise TrainingError(
            f"{trainer}: kits_training.imagenet_weights of configuration {configuration} is {given}, which is no file. "
            "Give a file, 'hub' to download the weights, or 'none' to begin without."
        )

"""Chains: operations one after the other, as JSON.

A chain is a file ``{"summary", "source", "deviations", "steps"}``; a step is ``{"operation": name, parameter: value}``.
The shipped ones are in ``chains/``. Every name and every parameter is checked when a chain is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import PostprocessingError
from nnunet_kits.geometry import bounding_box, crop, pasted_like
from nnunet_kits.labels import Label
from nnunet_kits.postprocessing.operations import OPERATIONS
from nnunet_kits.postprocessing.voxel import Voxel, mm3_of
from nnunet_kits.shipped import read_shipped, shipped_names

CHAINS_FOLDER = Path(__file__).parent / "chains"

KEYS = ("summary", "source", "deviations", "steps")


@dataclass(frozen=True)
class Step:
    """One operation with its parameters."""

    operation: str
    parameters: Mapping[str, Any]

    def apply(self, labels: NDArray[np.uint8], voxel: Voxel | float) -> NDArray[np.uint8]:
        """The label map after this operation; ``voxel`` is a voxel, or its volume."""
        return OPERATIONS[self.operation](labels, voxel, **self.parameters)

    def as_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {"operation": self.operation, **self.parameters}


@dataclass(frozen=True)
class Chain:
    """Steps in the order in which they are done.

    Attributes:
        name: the file's name without ``.json``.
        summary: one sentence.
        source: a paper, or ``ours``.
        deviations: what the source does not say, or what was changed.
        steps: none leaves label maps as they are.
    """

    name: str
    summary: str
    source: str
    deviations: tuple[str, ...]
    steps: tuple[Step, ...]

    def as_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {
            "summary": self.summary,
            "source": self.source,
            "deviations": list(self.deviations),
            "steps": [step.as_json() for step in self.steps],
        }


def chain_names() -> list[str]:
    """Names of the shipped chains."""
    return shipped_names(CHAINS_FOLDER)


def load_chain(name_or_file: str) -> Chain:
    """A shipped chain by its name, or one from a JSON file.

    Raises:
        PostprocessingError: no such chain, or a file that is none; the message names the key and what is allowed.
    """
    path, content = read_shipped(name_or_file, CHAINS_FOLDER, "chain", PostprocessingError)
    return parse_chain(path.stem, content, str(path))


def parse_chain(name: str, content: Any, where: str) -> Chain:
    """A chain from what its file holds.

    Raises:
        PostprocessingError: an unknown or missing key, operation or parameter.
    """
    if not isinstance(content, dict) or sorted(content) != sorted(KEYS):
        given = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise PostprocessingError(f"{where}: a chain has exactly {', '.join(KEYS)}, but this has {given}.")
    if not isinstance(content["steps"], list) or not isinstance(content["deviations"], list):
        raise PostprocessingError(f"{where}: steps and deviations are lists.")
    steps = tuple(parse_step(step, f"{where}, step {number}") for number, step in enumerate(content["steps"], 1))
    return Chain(name, str(content["summary"]), str(content["source"]), tuple(map(str, content["deviations"])), steps)


def parse_step(content: Any, where: str) -> Step:
    """A step from ``{"operation": name, parameter: value}``.

    Raises:
        PostprocessingError: an unknown operation, or a parameter that it does not take or that is out of its range.
    """
    if not isinstance(content, dict) or content.get("operation") not in [*OPERATIONS]:
        given = content.get("operation") if isinstance(content, dict) else content
        raise PostprocessingError(f"{where}: operation is {given!r}. Known: {', '.join(OPERATIONS)}.")
    step = Step(content["operation"], {key: value for key, value in content.items() if key != "operation"})
    try:
        step.apply(np.ones((1, 1, 1), np.uint8), 1.0)  # every operation checks its parameters before it works
    except TypeError as error:
        raise PostprocessingError(f"{where}: {str(error).split('()')[-1].strip()} of {step.operation}.") from error
    except PostprocessingError as error:
        raise PostprocessingError(f"{where}: {error}") from error
    return step


def apply_chain(
    labels: NDArray[np.uint8], voxel: Voxel | float, chain: Chain
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Do every step of a chain.

    Args:
        labels: three-dimensional label map, any order of axes.
        voxel: a voxel, or its volume where no step measures lengths.
        chain: what to do.

    Returns:
        A new label map, and for every step its JSON with ``changed_ml``: label -> volume that it lost (-) or won (+).
    """
    inside = bounding_box(labels)
    if inside is None:
        return labels.copy(order="K"), [{**step.as_json(), "changed_ml": {}} for step in chain.steps]
    part = np.array(crop(labels, inside), order="C")
    done = []
    for step in chain.steps:
        before, part = part, step.apply(part, voxel)
        done.append({**step.as_json(), "changed_ml": _changes_ml(before, part, mm3_of(voxel))})
    return pasted_like(labels, inside, part), done


def _changes_ml(before: NDArray[np.uint8], after: NDArray[np.uint8], voxel_mm3: float) -> dict[str, float]:
    """Label -> volume that it won or lost."""
    places = np.flatnonzero(before != after)
    lost, won = (np.bincount(labels.ravel()[places], minlength=len(Label)) for labels in (before, after))
    return {
        label.name.lower(): round(float(won[label] - lost[label]) * voxel_mm3 / 1000, 6)
        for label in Label
        if label and won[label] != lost[label]
    }

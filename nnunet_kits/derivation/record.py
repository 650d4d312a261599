"""What is kept of a derived dataset: where each case lies in its source, so that a result can be put back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.cases.raw_dataset import Record
from nnunet_kits.cases.records import read_record
from nnunet_kits.errors import DerivationError, PreparationError
from nnunet_kits.images import Grid, axis_order
from nnunet_kits.preparation import Placement, restore

FILE = "derivation.json"


@dataclass(frozen=True)
class DerivedCase:
    """How one case of a derived dataset lies in its source.

    Attributes:
        image: the source's CT; it may be gone by now.
        source_grid: of that file.
        grid: of the derived file.
        reader: the class of nnU-Net that reads both.
        placement: of the derived scan in the source's, as the reader gives them.
    """

    image: Path
    source_grid: Grid
    grid: Grid
    reader: str
    placement: Placement

    @classmethod
    def of(cls, record: Record, where: str) -> "DerivedCase":
        """From a case's record.

        Raises:
            DerivationError: a record that holds something else.
        """
        try:
            return cls(
                image=Path(record["sources"]["image"]["path"]),
                source_grid=_grid(record["source_grid"]),
                grid=_grid(record["grid"]),
                reader=str(record["reader"]),
                placement=Placement.from_json(record["placement"], where),
            )
        except (KeyError, TypeError, ValueError, PreparationError) as error:
            raise DerivationError(f"{where}: cannot be used ({error!r}). Derive the dataset again.") from error

    def put_back(self, labels: NDArray[Any]) -> NDArray[Any]:
        """A label map of the derived scan on the source's grid.

        Args:
            labels: in the axis order of the derived file, and of its shape.

        Returns:
            In the axis order of the source's file; 0 outside what was cropped.
        """
        order = axis_order(self.reader, self.grid.affine)
        assert order is not None  # no other dataset is derived from
        return order.as_stored(restore(order.as_read(labels), self.placement))


def derived_cases(dataset: Path) -> dict[str, DerivedCase]:
    """The cases of a derived dataset; none for a dataset that is not derived.

    Raises:
        DerivationError: a derivation.json that holds something else.
    """
    path = dataset / FILE
    content = read_record(path) or {}
    records: Mapping[str, Record] = content.get("cases", {})
    return {case: DerivedCase.of(record, f"{path}, {case}") for case, record in records.items()}


def labels_back(dataset: Path) -> NDArray[np.uint8]:
    """(256,) value in a derived dataset -> value in its source.

    Raises:
        DerivationError: a dataset that is not derived, or a derivation.json that holds something else.
    """
    path = dataset / FILE
    content = read_record(path)
    if content is None:
        raise DerivationError(
            f"{dataset}: has no {FILE} that can be read, so it is no derived dataset, or its derivation is not done."
        )
    values = np.zeros(256, np.uint8)
    try:
        for value, back in content["labels_back"].items():
            values[int(value)] = back
    except (KeyError, AttributeError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise DerivationError(f"{path}: labels_back cannot be used ({error!r}). Derive the dataset again.") from error
    return values


def grid_as_json(grid: Grid) -> dict[str, Any]:
    """Shape and affine of a file."""
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _grid(content: Any) -> Grid:
    x, y, z = (int(size) for size in content["shape"])
    affine = np.array(content["affine"], dtype=np.float64).reshape(4, 4)
    return Grid((x, y, z), affine, np.dtype(np.uint8))

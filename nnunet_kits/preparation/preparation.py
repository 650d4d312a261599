"""A preparation as data: JSON into a frozen dataclass, every key and value checked when it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnunet_kits.errors import PreparationError

KEYS = ("region", "mask", "size")


@dataclass(frozen=True)
class Preparation:
    """What is done to a scan, in this order; every triple is (z, y, x) as nnU-Net's reader gives the scan.

    Attributes:
        margin_voxels: crop to the box of a mask, this much larger on both sides of each axis and cut at the scan's
            borders; None for the whole scan. In JSON ``"region": {"margin_voxels": [4, 20, 20]}``, or null.
        mask: multiply HU by the mask: 0 HU outside it.
        size: resize to so many voxels, an axis that is None stays as it is; None for no resizing.
    """

    margin_voxels: tuple[int, int, int] | None = None
    mask: bool = False
    size: tuple[int | None, int | None, int | None] | None = None

    @classmethod
    def from_json(cls, content: Any, where: str) -> "Preparation":
        """From ``{"region": {"margin_voxels": [z, y, x]} | null, "mask": bool, "size": [z, y, x] | null}``.

        A key that is left out does nothing, and so does null for the whole.

        Args:
            content: as read from JSON.
            where: what holds it, for messages.

        Raises:
            PreparationError: an unknown key, or a value that is not allowed.
        """
        if content is None:
            return cls()
        if not isinstance(content, dict) or not set(content) <= set(KEYS):
            raise PreparationError(f"{where}: {content!r} is no preparation. Its keys are {', '.join(KEYS)}.")
        region, mask, size = content.get("region"), content.get("mask", False), content.get("size")
        if region is not None and (not isinstance(region, dict) or list(region) != ["margin_voxels"]):
            raise PreparationError(f'{where}: region is {region!r}, not {{"margin_voxels": [z, y, x]}} or null.')
        if not isinstance(mask, bool):
            raise PreparationError(f"{where}: mask is {mask!r}, not true or false.")
        margin = None if region is None else _triple(region["margin_voxels"], _from_zero, f"{where}: margin_voxels", 0)
        return cls(margin, mask, None if size is None else _triple(size, _from_one_or_none, f"{where}: size", 1))

    def as_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        region = None if self.margin_voxels is None else {"margin_voxels": list(self.margin_voxels)}
        return {"region": region, "mask": self.mask, "size": None if self.size is None else list(self.size)}

    @property
    def needs_mask(self) -> bool:
        """Whether a scan can be prepared only with a mask."""
        return self.mask or self.margin_voxels is not None

    def size_of(self, extent: tuple[int, int, int]) -> tuple[int, int, int]:
        """Voxels along z, y, x that a region of ``extent`` voxels is resized to."""
        if self.size is None:
            return extent
        z, y, x = (own if wanted is None else wanted for own, wanted in zip(extent, self.size, strict=True))
        return z, y, x


def _from_zero(value: Any) -> bool:
    return type(value) is int and value >= 0


def _from_one_or_none(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 1)


def _triple(values: Any, allowed: Callable[[Any], bool], what: str, least: int) -> Any:
    """Three values, each allowed, as a tuple."""
    if not isinstance(values, list | tuple) or len(values) != 3 or not all(allowed(value) for value in values):
        or_null = ", or null for an axis that stays as it is" if least else ""
        raise PreparationError(f"{what} is {values!r}, not three integers of at least {least} (z, y, x){or_null}.")
    return tuple(values)

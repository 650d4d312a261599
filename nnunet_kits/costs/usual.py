"""A usual CT of KiTS, as a member's dataset holds it: what plans and windows are reckoned for without any data."""

from dataclasses import dataclass

from nnunet_kits.derivation.rule import load_rule
from nnunet_kits.preparation import Preparation
from nnunet_kits.recipes.recipe import Member

Triple = tuple[float, float, float]

EXTENT_MM: Triple = (412, 400, 400)
"""Of the CT. Source: George, KiTS21, section 2.3: the median size is 528 x 512 x 512 voxels of 0.78 mm."""

SPACING_MM: Triple = (3.0, 0.78, 0.78)
"""Of its voxels. KiTS23: the median of the slices' distances; George's 0.78 mm in plane."""

KIDNEYS_MM: Triple = (132, 101, 220)
"""Box around all labels: the median of 12 label maps of KiTS23."""


@dataclass(frozen=True)
class Scan:
    """A scan.

    Attributes:
        shape: voxels along z, y, x.
        spacing_mm: their edges.
    """

    shape: tuple[int, int, int]
    spacing_mm: Triple

    def at(self, spacing_mm: tuple[float, ...] | None) -> tuple[int, int, int]:
        """Its shape on a model's grid.

        Args:
            spacing_mm: of the grid; two numbers leave the slices alone, None all axes.
        """
        wanted = (*self.spacing_mm[: 3 - len(spacing_mm or ())], *(spacing_mm or ()))
        z, y, x = (
            max(1, round(size * own / new)) for size, own, new in zip(self.shape, self.spacing_mm, wanted, strict=True)
        )
        return z, y, x


def usual_scan(member: Member) -> Scan:
    """The usual CT as a member's dataset has it: whole, or prepared by the member's rule."""
    return prepared(Preparation() if member.derive is None else load_rule(member.derive.rule).preparation)


def prepared(preparation: Preparation) -> Scan:
    """The usual CT, prepared; the box of the kidneys lies far from its borders but where the margin reaches them."""
    extent = EXTENT_MM
    if preparation.margin_voxels is not None:
        grown = (
            size + 2 * margin * edge
            for size, margin, edge in zip(KIDNEYS_MM, preparation.margin_voxels, SPACING_MM, strict=True)
        )
        z, y, x = (min(whole, size) for whole, size in zip(EXTENT_MM, grown, strict=True))
        extent = (z, y, x)
    a, b, c = (max(1, round(size / edge)) for size, edge in zip(extent, SPACING_MM, strict=True))
    shape = preparation.size_of((a, b, c))
    d, e, f = (size / voxels for size, voxels in zip(extent, shape, strict=True))
    return Scan(shape, SPACING_MM if preparation.size is None else (d, e, f))

"""Two kidneys with a tumour and cysts on a small grid, how to find one of their measures, and ragged label maps."""

import numpy as np


def grid_affine(spacing_zyx_mm):
    """KiTS's orientation: (z, y, x) = head to feet, front to back, right to left; RAS x, y, z fall along them."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = -np.array(spacing_zyx_mm)
    affine[:3, 3] = (11.0, -22.0, 33.0)
    affine[3, 3] = 1
    return affine


def ellipsoid(shape, spacing, centre_mm, radii_mm):
    """Mask of the voxels whose centre lies in an ellipsoid; millimetres from the first voxel."""
    places = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    return sum(((p - c) / r) ** 2 for p, c, r in zip(places, centre_mm, radii_mm, strict=True)) <= 1


SHAPE, SPACING = (40, 40, 90), (3.0, 2.0, 2.0)


def abdomen():
    """Two kidneys, 100 mm apart; a tumour on the right one, a cyst in the left one, and a loose cyst on the left."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[ellipsoid(SHAPE, SPACING, (60, 40, 40), (50, 25, 28))] = 1
    labels[ellipsoid(SHAPE, SPACING, (54, 40, 140), (45, 22, 26))] = 1
    labels[ellipsoid(SHAPE, SPACING, (60, 40, 18), (15, 12, 13))] = 2
    labels[ellipsoid(SHAPE, SPACING, (54, 40, 140), (9, 8, 8))] = 3
    labels[1, 1, 80] = 3
    return labels


def of(measures, structure, side=None, component=1):
    (found,) = (
        m
        for m in measures.structures
        if m.structure == structure and m.component == component and side in (None, m.side)
    )
    return found


def ragged(seed, shape, share=0.3):
    """A random label map of many pieces, labels 0 to 3."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(1, 4, shape)
    return np.where(generator.random(shape) < share, labels, 0).astype(np.uint8)

"""Distances to simple bodies in millimetres: negative inside, positive outside, about true near the surface.

Positions are (z, y, x) in the patient's frame: z grows towards the feet, y towards the back, x towards the patient's
left; the origin is the middle of the second lumbar vertebra. Arrays of one region share one shape.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float32]
Vector: TypeAlias = tuple[float, float, float]
Points: TypeAlias = tuple[Array, Array, Array]

FAR = 1.0e4
"""Radius in mm of something that does not end inside the image."""


def vector(values: ArrayLike) -> Vector:
    """Three numbers as a tuple."""
    z, y, x = (float(v) for v in np.asarray(values))
    return z, y, x


def moved(point: ArrayLike, z: float, y: float, x: float) -> NDArray[np.float64]:
    """A point, or each of (n, 3) points, shifted by some mm along each axis."""
    return np.add(np.asarray(point, dtype=np.float64), (z, y, x), dtype=np.float64)


def rotation(about_z_deg: float = 0.0, about_y_deg: float = 0.0, about_x_deg: float = 0.0) -> NDArray[np.float64]:
    """(3, 3) matrix from patient (z, y, x) to the body's own (z, y, x): first about z, then y, then x."""
    matrix: NDArray[np.float64] = np.eye(3)
    for degrees, (i, j) in ((about_z_deg, (1, 2)), (about_y_deg, (0, 2)), (about_x_deg, (0, 1))):
        turn = np.eye(3)
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, s, -s, c
        matrix = turn @ matrix
    return matrix


def to_frame(points: Points, centre: Vector, frame: NDArray[np.float64] | None = None) -> Points:
    """Coordinates relative to ``centre`` along the rows of ``frame`` (the patient's own axes where None)."""
    z, y, x = (p - np.float32(c) for p, c in zip(points, centre, strict=True))
    if frame is None:
        return z, y, x
    rows = frame.astype(np.float32)
    first, second, third = (row[0] * z + row[1] * y + row[2] * x for row in rows)
    return first, second, third


def ellipsoid(points: Points, centre: Vector, radii: Vector, frame: NDArray[np.float64] | None = None) -> Array:
    """Distance to an ellipsoid; a radius of :data:`FAR` makes it an elliptic cylinder."""
    local = to_frame(points, centre, frame)
    unit = [p * np.float32(1 / r) for p, r in zip(local, radii, strict=True)]
    level = np.sqrt(unit[0] ** 2 + unit[1] ** 2 + unit[2] ** 2)
    for u, r in zip(unit, radii, strict=True):
        u *= np.float32(1 / r)
        u *= u
    slope = np.sqrt(unit[0] + unit[1] + unit[2])
    distance = level * (level - 1) / np.maximum(slope, np.float32(1e-9))
    distance[level < 1e-3] = -min(radii)  # the very centre, where both roots vanish
    return np.asarray(distance)


def capsule(points: Points, start: Vector, end: Vector, start_radius: float, end_radius: float) -> Array:
    """Distance to a rod with round ends, its radius going evenly from one end to the other."""
    z, y, x = (p - np.float32(s) for p, s in zip(points, start, strict=True))
    along = [float(e - s) for s, e in zip(start, end, strict=True)]
    length2 = max(sum(a * a for a in along), 1e-6)
    t = z * np.float32(along[0] / length2) + y * np.float32(along[1] / length2) + x * np.float32(along[2] / length2)
    t = np.minimum(np.maximum(t, 0), 1)
    for offset, slope in zip((z, y, x), along, strict=True):
        offset -= t * np.float32(slope)
        offset *= offset
    z += y
    z += x
    return np.asarray(np.sqrt(z) - (np.float32(start_radius) + t * np.float32(end_radius - start_radius)))


def join(a: Array, b: Array, blend_mm: float) -> Array:
    """Union of two bodies with a fillet of about ``blend_mm``."""
    return np.minimum(a, b) - _fillet(a, b, blend_mm)


def overlap(a: Array, b: Array, blend_mm: float) -> Array:
    """What lies in both bodies, its edge rounded by about ``blend_mm``; ``overlap(a, -b, ...)`` cuts b out of a."""
    return np.maximum(a, b) + _fillet(a, b, blend_mm)


def _fillet(a: Array, b: Array, blend_mm: float) -> Array:
    """How far the edge moves where two bodies meet."""
    near: Array = np.abs(a - b)
    np.subtract(np.float32(blend_mm), near, out=near)
    np.maximum(near, 0, out=near)
    near *= near
    near *= np.float32(1 / (4 * blend_mm))
    return near


def smooth_curve(points: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """Points about ``step_mm`` apart on a Catmull-Rom curve through (n, 3) ``points``."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    pieces = []
    for p0, p1, p2, p3 in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        count = max(1, round(float(np.linalg.norm(p2 - p1)) / step_mm))
        t = np.arange(count)[:, None] / count
        pieces.append(
            0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
        )
    return np.concatenate([*pieces, points[-1:]])

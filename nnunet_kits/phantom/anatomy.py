"""One patient in numbers: how wide, how enhanced, where the kidneys lie and what grows on them.

Everything is drawn from a seed and a case number only, before a grid is chosen, so that a case shows the same anatomy
in every challenge year and at every size. Positions are (z, y, x) mm in the frame of :mod:`.shapes`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.phantom.shapes import Vector

LEFT, RIGHT = 1, -1
"""Sides as the sign of x: the patient's left is the image's right."""

LESION_Z_LIMIT_MM = 82.0
"""Lesions stay within this height, which every scan covers."""


@dataclass(frozen=True)
class Body:
    """Outline of the trunk: half an oval towards the front and a flatter half towards the back of ``middle_y``."""

    half_width: float
    front: float
    back: float
    fat: float
    muscle: float
    middle_y: float = -10.0


@dataclass(frozen=True)
class Enhancement:
    """HU of tissues between a late arterial (corticomedullary) and a portal (nephrographic) phase."""

    cortex: float
    medulla: float
    liver: float
    spleen: float
    pancreas: float
    aorta: float
    vena_cava: float
    portal_vein: float
    muscle: float
    bone: float


@dataclass(frozen=True)
class Kidney:
    """A bean: long axis down and outwards, hilum inwards and forwards.

    Attributes:
        side: :data:`LEFT` or :data:`RIGHT`.
        centre: middle of the bean.
        radii: half-length, half-thickness and half-width in the bean's own (w, v, u) frame.
        bend: how far the poles curve inwards, mm.
        frame: (3, 3) rows w (down), v (across), u (outwards) in (z, y, side * x).
        sinus: size of the fatty sinus relative to the usual.
    """

    side: int
    centre: Vector
    radii: Vector
    bend: float
    frame: NDArray[np.float64]
    sinus: float

    def to_patient(self, w: float, v: float, u: float) -> Vector:
        """Patient position of a point given in the bean's own frame."""
        z, y, x = np.array([w, v, u]) @ self.frame
        return self.centre[0] + float(z), self.centre[1] + float(y), self.centre[2] + self.side * float(x)


@dataclass(frozen=True)
class Lesion:
    """A tumour or cyst on one kidney.

    Attributes:
        side: whose kidney.
        centre: its middle.
        radius: mean radius, mm.
        stretch: radii along its own axes relative to the mean.
        turn_deg: its rotation about z.
        hu: mean of the solid part, or the fluid.
        texture_hu: standard deviation of the solid part.
        lobulation_mm: how uneven its surface is.
        core: radius of the necrotic core relative to the whole, 0 for none.
    """

    side: int
    centre: Vector
    radius: float
    stretch: Vector
    turn_deg: float
    hu: float
    texture_hu: float = 0.0
    lobulation_mm: float = 0.0
    core: float = 0.0


@dataclass(frozen=True)
class Patient:
    """All that a phantom shows, apart from texture."""

    body: Body
    enhancement: Enhancement
    kidneys: tuple[Kidney, ...]
    tumors: tuple[Lesion, ...]
    cysts: tuple[Lesion, ...]
    z_range: tuple[float, float]
    field: float


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw one patient: always one tumour or two, in about half of the patients one cyst or more."""
    body = _draw_body(rng)
    enhancement = _draw_enhancement(rng)
    kidneys = tuple(_draw_kidney(side, rng) for side in (RIGHT, LEFT))
    lesions: list[Lesion] = []
    for place in range(2 if rng.random() < 0.12 else 1):
        radius = float(np.exp(rng.uniform(np.log(13.0), np.log(34.0)))) if place == 0 else float(rng.uniform(12.5, 16))
        lesions.append(_draw_tumor(radius, kidneys, lesions, body, enhancement, rng))
    tumors = tuple(lesions)
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.55 else 0):
        lesions.append(_draw_cyst(float(rng.uniform(9.0, 19.5)), kidneys, lesions, body, rng))
    z_range = (-float(rng.uniform(92, 135)), float(rng.uniform(88, 108)))
    field = 2 * body.half_width + float(rng.uniform(14, 34))
    return Patient(body, enhancement, kidneys, tumors, tuple(lesions[len(tumors) :]), z_range, field)


def cavity_level(body: Body, y: float, x: float, inset_mm: float = 0.0) -> float:
    """Below 1 inside the abdominal cavity shrunk by ``inset_mm``, above 1 outside."""
    wall = body.fat + body.muscle + inset_mm
    depth = body.back if y > body.middle_y else body.front
    return float(np.hypot(x / (body.half_width - wall), (y - body.middle_y) / (depth - wall)))


def _draw_body(rng: np.random.Generator) -> Body:
    fat = float(rng.uniform(8, 24))
    return Body(
        half_width=float(rng.uniform(129, 137)) + fat * 0.8,
        front=float(rng.uniform(103, 112)) + fat * 0.8,
        back=float(rng.uniform(76, 80)) + fat * 0.6,
        fat=fat,
        muscle=float(rng.uniform(8, 11)),
    )


def _draw_enhancement(rng: np.random.Generator) -> Enhancement:
    phase = float(rng.uniform(0, 0.75))

    def between(arterial: float, portal: float, spread: float) -> float:
        return arterial + phase * (portal - arterial) + float(rng.normal(0, spread))

    return Enhancement(
        cortex=between(205, 185, 12),
        medulla=between(95, 172, 8),
        liver=between(78, 112, 6),
        spleen=between(125, 122, 7),
        pancreas=between(108, 92, 6),
        aorta=between(310, 165, 18),
        vena_cava=between(90, 145, 10),
        portal_vein=between(120, 168, 8),
        muscle=float(rng.normal(58, 4)),
        bone=float(rng.uniform(120, 210)),
    )


def _draw_kidney(side: int, rng: np.random.Generator) -> Kidney:
    half_width = float(rng.uniform(26, 30))
    centre = (
        float(rng.normal(7 if side == RIGHT else -7, 5)),
        float(rng.normal(10, 3)),
        side * float(rng.uniform(60, 68)),
    )
    outwards, forwards, turn = np.deg2rad([rng.uniform(6, 16), rng.uniform(2, 10), rng.uniform(15, 42)])
    w = np.array([1.0, -np.sin(forwards), np.sin(outwards)])
    w /= np.linalg.norm(w)
    u = np.array([0.0, np.sin(turn), np.cos(turn)])
    u -= (u @ w) * w
    u /= np.linalg.norm(u)
    radii = (float(rng.uniform(50, 59)), float(rng.uniform(22, 26)), half_width)
    frame = np.stack([w, np.cross(u, w), u])
    return Kidney(side, centre, radii, float(rng.uniform(5, 10)), frame, float(rng.uniform(0.85, 1.15)))


def _draw_tumor(
    radius: float,
    kidneys: tuple[Kidney, ...],
    others: list[Lesion],
    body: Body,
    enhancement: Enhancement,
    rng: np.random.Generator,
) -> Lesion:
    """A tumour of one of three looks: mixed and often necrotic, even and dim, or even and bright."""
    side, centre = _place(radius, kidneys, others, body, rng)
    bright = 0.5 * (enhancement.cortex + enhancement.medulla)
    look = rng.choice(["mixed", "dim", "bright"], p=[0.6, 0.22, 0.18])
    hu = {"mixed": rng.uniform(75, 125), "dim": rng.uniform(38, 65), "bright": rng.uniform(0.7, 0.95) * bright}[look]
    core = float(rng.uniform(0.45, 0.7)) if look == "mixed" and radius > 16 and rng.random() < 0.75 else 0.0
    return Lesion(
        side,
        centre,
        radius,
        _stretch(rng, 0.12),
        float(rng.uniform(0, 180)),
        hu=float(hu),
        texture_hu={"mixed": 24.0, "dim": 7.0, "bright": 16.0}[look],
        lobulation_mm=radius * (0.09 if look == "mixed" else 0.04),
        core=core,
    )


def _draw_cyst(
    radius: float, kidneys: tuple[Kidney, ...], others: list[Lesion], body: Body, rng: np.random.Generator
) -> Lesion:
    side, centre = _place(radius, kidneys, others, body, rng)
    return Lesion(side, centre, radius, _stretch(rng, 0.05), float(rng.uniform(0, 180)), hu=float(rng.uniform(0, 16)))


def _stretch(rng: np.random.Generator, spread: float) -> Vector:
    z, y, x = np.exp(rng.uniform(-spread, spread, 3))
    return float(z), float(y), float(x)


def _place(
    radius: float, kidneys: tuple[Kidney, ...], others: list[Lesion], body: Body, rng: np.random.Generator
) -> tuple[int, Vector]:
    """Side and centre of a lesion on the surface of a kidney: clear of spine, body wall and other lesions.

    The best of many random places is taken, so that crowded patients get a lesion too.
    """
    best: tuple[float, int, Vector] = (float("inf"), LEFT, kidneys[0].centre)
    for _ in range(60):
        kidney = kidneys[int(rng.integers(2))]
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        if direction[2] < -0.3:  # not through the hilum
            direction[2] *= -1
        long, thick, wide = kidney.radii
        surface = direction * np.array([long, thick, wide])
        outward = direction / np.array([long, thick, wide])
        outward /= np.linalg.norm(outward)
        place = surface + outward * radius * float(rng.uniform(-0.5, 0.35))
        place[2] -= kidney.bend * (place[0] / long) ** 2
        centre = kidney.to_patient(*place)
        trouble = _trouble(radius, kidney.side, centre, others, body)
        if trouble < best[0]:
            best = (trouble, kidney.side, centre)
        if trouble <= 0:
            break
    return best[1], best[2]


def _trouble(radius: float, side: int, centre: Vector, others: list[Lesion], body: Body) -> float:
    """By how many mm a lesion runs into spine, wall, the scan's ends or another lesion; 0 where it is clear."""
    z, y, x = centre
    medial = max(0.0, 34 + radius - side * x)
    wall = max(0.0, cavity_level(body, y, x, radius) - 1) * 60
    ends = max(0.0, abs(z) + radius - LESION_Z_LIMIT_MM)
    near = [radius + o.radius + 4 - float(np.linalg.norm(np.subtract(centre, o.centre))) for o in others]
    return medial + wall + ends + 3 * max([0.0, *near])

"""Kidneys with what is labelled on them, and the fat, adrenals and vessels around them."""

from dataclasses import dataclass

import numpy as np

from nnunet_kits.labels import Label
from nnunet_kits.phantom.anatomy import Kidney, Lesion, Patient
from nnunet_kits.phantom.canvas import Canvas, Region, smooth_noise
from nnunet_kits.phantom.shapes import (
    Array,
    Points,
    Vector,
    capsule,
    ellipsoid,
    join,
    moved,
    overlap,
    rotation,
    smooth_curve,
    vector,
)
from nnunet_kits.phantom.trunk import FAT_HU

CALYX_ANGLES_DEG = (-62.0, 0.0, 62.0)
"""Directions of pyramids around the bean's long axis, 0 is outwards."""
CALYX_HEIGHTS = (-0.66, -0.3, 0.06, 0.4, 0.72)
"""Heights of pyramids along the bean's long axis relative to its half-length."""


@dataclass(frozen=True)
class KidneySpace:
    """Distances around one kidney, kept between painting its fat and painting itself."""

    kidney: Kidney
    region: Region
    frame_points: Points
    outline: Array
    masses: tuple[tuple[Lesion, Array], ...]
    cysts: tuple[tuple[Lesion, Array], ...]


def measure(canvas: Canvas, kidney: Kidney, patient: Patient, rng: np.random.Generator) -> KidneySpace:
    """Outline of one kidney and of the lesions on it, in a region that holds them and their fat."""
    tumors = [t for t in patient.tumors if t.side == kidney.side]
    cysts = [c for c in patient.cysts if c.side == kidney.side]
    low = moved(kidney.centre, -62, -40, -40)
    high = moved(kidney.centre, 62, 40, 40)
    for lesion in [*tumors, *cysts]:
        low = np.minimum(low, np.array(lesion.centre) - 1.25 * lesion.radius)
        high = np.maximum(high, np.array(lesion.centre) + 1.25 * lesion.radius)
    middle, half = (low + high) / 2, (high - low) / 2 + 18
    region = canvas.region(vector(middle), vector(half))
    z, y, x = region.points
    mirrored = (z - kidney.centre[0], y - kidney.centre[1], kidney.side * (x - kidney.centre[2]))
    w, v, u = (
        sum((np.float32(f) * p for f, p in zip(row, mirrored, strict=True)), start=np.float32(0))
        for row in kidney.frame
    )
    u = u + kidney.bend * (w / np.float32(kidney.radii[0])) ** 2
    frame_points = (np.asarray(w), np.asarray(v), np.asarray(u))
    outline = ellipsoid(frame_points, (0.0, 0.0, 0.0), kidney.radii)
    outline = outline + 0.9 * smooth_noise(region, rng, 12.0)
    masses = tuple((t, _lesion(region, t, rng)) for t in tumors)
    return KidneySpace(
        kidney, region, frame_points, outline, masses, tuple((c, _lesion(region, c, rng)) for c in cysts)
    )


def _lesion(region: Region, lesion: Lesion, rng: np.random.Generator) -> Array:
    z, y, x = (lesion.radius * s for s in lesion.stretch)
    distance = ellipsoid(region.points, lesion.centre, (z, y, x), rotation(lesion.turn_deg))
    knot = max(5.0, lesion.radius * 0.55)
    return distance + lesion.lobulation_mm * smooth_noise(region, rng, knot)


def paint_perirenal_fat(canvas: Canvas, space: KidneySpace, patient: Patient) -> None:
    """Fat around a kidney and its lesions, with Gerota's thin fascia as its border."""
    around = space.outline
    for lesion, distance in (*space.masses, *space.cysts):
        around = join(around, distance + min(6.0, 0.3 * lesion.radius), 10.0)
    thickness = 4 + 0.4 * patient.body.fat
    fat = overlap(around - thickness, canvas.cavity[space.region.window] + 1, 4.0)
    canvas.paint(space.region, fat - 1.3, -35.0)
    canvas.paint(space.region, fat, FAT_HU - 3)


def paint_adrenal(canvas: Canvas, kidney: Kidney, rng: np.random.Generator) -> None:
    """Adrenal: two thin limbs like a Y above and in front of the upper pole."""
    apex = moved(kidney.to_patient(-0.82 * kidney.radii[0], 0.0, -20.0), -6, -14, 0)
    hu = float(rng.uniform(55, 85))
    for turn in (22.0, -24.0):
        region = canvas.region(vector(apex), (22.0, 22.0, 22.0))
        frame = rotation(turn * kidney.side)
        centre = apex + np.array([0.0, 1.0, 0.0]) @ frame * 7
        limb = ellipsoid(region.points, vector(centre), (14.0, 10.0, 2.4), frame)
        canvas.paint(region, limb, hu)


def paint_renal_vessels(canvas: Canvas, kidney: Kidney, patient: Patient) -> None:
    """Renal artery from the aorta and, in front of it, the renal vein to the vena cava; the ureter below."""
    hilum = np.array(kidney.to_patient(0.0, 0.0, -0.75 * kidney.radii[2]))
    inner = np.array(kidney.to_patient(0.0, 0.0, -0.2 * kidney.radii[2]))
    side = kidney.side
    artery_root, vein_root = np.array([-6.0, -24.0, 9.0 + 8 * side]), np.array([-4.0, -29.0, -19.0 + 9 * side])
    artery = [artery_root, moved((artery_root + hilum) / 2, 0, 8, 0), moved(hilum, -3, 2, 0), inner]
    vein = [vein_root, moved((vein_root + hilum) / 2, 0, -6, 0), moved(hilum, -2, -5, 0), moved(inner, 0, -2, 0)]
    if side > 0:  # the left vein crosses in front of the aorta
        vein.insert(1, np.array([-6.0, -43.0, 9.0]))
    ureter = [moved(hilum, 8, 0, 0), moved(hilum, 28, -4, -4 * side), np.array([60.0, -12.0, 38.0 * side])]
    ureter.append(np.array([125.0, -16.0, 32.0 * side]))
    enhancement = patient.enhancement
    renal_vein_hu = 0.5 * (enhancement.vena_cava + enhancement.cortex)
    for path, radius, hu in ((ureter, 2.6, 25.0), (artery, 3.0, enhancement.aorta), (vein, 5.0, renal_vein_hu)):
        curve = smooth_curve(np.array(path), 5.0)
        region, distance = canvas.tube(curve, np.full(len(curve), radius))
        canvas.paint(region, distance, hu)


def paint_kidney(canvas: Canvas, space: KidneySpace, patient: Patient, rng: np.random.Generator) -> None:
    """Cortex, medullary pyramids, fatty sinus and collecting system.

    Labelled is the parenchyma and what is not fat in the hilum, as the challenge's annotators were told to.
    """
    kidney, enhancement, region = space.kidney, patient.enhancement, space.region
    long, thick, wide = kidney.radii
    points, outline = space.frame_points, space.outline
    grow = kidney.sinus
    sinus = ellipsoid(points, (0.0, 0.0, -0.62 * wide), (0.5 * long * grow, 0.40 * thick * grow, 0.62 * wide))
    mouth = ellipsoid(points, (0.0, 0.0, -1.15 * wide), (0.3 * long, 0.5 * thick, 0.75 * wide))
    sinus = join(sinus, mouth, 6.0) + 0.8 * smooth_noise(region, rng, 6.0)
    parenchyma = overlap(outline, -sinus, 5.0)
    speckle = 4 * smooth_noise(region, rng, 4.0)
    canvas.paint(region, parenchyma, enhancement.cortex + speckle, Label.KIDNEY)
    pelvis = ellipsoid(points, (2.0, 0.0, -0.8 * wide), (0.2 * long, 0.2 * thick, 0.42 * wide))
    for height in CALYX_HEIGHTS:
        for degrees in CALYX_ANGLES_DEG:
            tip, base = _pyramid_axis(kidney, height, degrees + float(rng.normal(0, 8)))
            pyramid = overlap(capsule(points, tip, base, 1.5, 6.8), outline + 5.5, 2.0)
            pyramid = overlap(pyramid, -(sinus - 0.5), 2.0)
            canvas.paint(region, pyramid, enhancement.medulla + speckle)
            if degrees == 0.0 or abs(height) < 0.35:
                cup = vector(0.75 * np.array(tip) + 0.25 * np.array(base))
                pelvis = join(pelvis, capsule(points, (0.0, 0.0, -0.7 * wide), cup, 2.6, 2.2), 3.0)
    collecting = overlap(pelvis, outline - 2, 2.0)
    canvas.paint(region, np.maximum(collecting, outline), 14.0, Label.KIDNEY)
    canvas.paint(region, np.maximum(collecting, -outline), 14.0)


def _pyramid_axis(kidney: Kidney, height: float, angle_deg: float) -> tuple[Vector, Vector]:
    """Tip at the sinus and base under the cortex of one pyramid, in the bean's own (w, v, u) frame."""
    long, thick, wide = kidney.radii
    girth = float(np.sqrt(1 - (height * 0.92) ** 2))
    across = float(np.sin(np.deg2rad(angle_deg))) * thick * girth
    outwards = float(np.cos(np.deg2rad(angle_deg))) * wide * girth * 0.9 - 0.08 * wide
    tip = (height * long * 0.6, across * 0.3, outwards * 0.22 - 0.1 * wide)
    return tip, (height * long * 0.86, across * 0.66, outwards * 0.66)


def paint_lesions(canvas: Canvas, space: KidneySpace, rng: np.random.Generator) -> None:
    """Cysts, then tumours: the order in which the challenge lays its labels over one another."""
    region = space.region
    for lesion, distance in space.cysts:
        canvas.paint(region, distance, lesion.hu, Label.CYST)
    for lesion, distance in space.masses:
        fine = smooth_noise(region, rng, max(3.5, lesion.radius * 0.2))
        coarse = smooth_noise(region, rng, max(5.0, lesion.radius * 0.4))
        solid = lesion.hu + lesion.texture_hu * (0.6 * fine + 0.8 * coarse)
        if lesion.core:
            depth = -distance - lesion.radius * (1 - lesion.core) + 0.22 * lesion.radius * coarse
            share = np.clip(0.5 + depth / 3.0, 0, 1)
            solid = solid + share * (24 + 6 * fine - solid)
        canvas.paint(region, distance, solid.astype(np.float32), Label.TUMOR)

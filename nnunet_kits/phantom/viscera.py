"""The neighbours that carry no label: liver, gall bladder, spleen, stomach, pancreas and bowel.

Several of them look like what is sought: a gall bladder or a liver cyst like a renal cyst, a liver metastasis or an
unopacified loop of bowel like a tumour, the spleen like a kidney.
"""

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.phantom.anatomy import Patient
from nnunet_kits.phantom.canvas import Canvas, Region, smooth_noise
from nnunet_kits.phantom.shapes import Array, Vector, ellipsoid, join, moved, overlap, rotation, smooth_curve, vector
from nnunet_kits.phantom.trunk import diaphragm_height, inside_cavity

GAS_HU = -960.0

LIVER_SPOTS = ((0.55, 8.0, 15.0, 8.0), (0.35, 7.0, 13.0, 52.0))
"""A simple cyst and a metastasis: chance, smallest and largest radius in mm, HU."""

LOOP_STARTS = ((4, -70, 66), (22, -54, 78), (30, -84, 36), (60, -58, -34), (66, -84, 24), (72, -54, 60), (98, -72, -8))
"""Where loops of small bowel begin: jejunum high on the left, ileum low on the right."""


def jitter(centre: Vector, rng: np.random.Generator, spread_mm: float) -> Vector:
    """A position near ``centre``."""
    return vector(np.asarray(centre) + rng.normal(0, spread_mm, 3))


def paint_vessel_net(
    canvas: Canvas,
    region: Region,
    within: Array,
    hu: float | Array,
    knot_mm: float,
    width: float,
    rng: np.random.Generator,
) -> None:
    """Branching vessels: the curves along which two smooth random fields vanish together."""
    first = smooth_noise(region, rng, knot_mm)
    second = smooth_noise(region, rng, knot_mm)
    distance = (np.hypot(first, second) - width) * knot_mm * 0.8
    canvas.paint(region, np.maximum(distance, within).astype(np.float32), hu)


def paint_mesentery(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Vessels and strands in the fat of the cavity."""
    region = canvas.region((20.0, -60.0, 0.0), (130.0, 70.0, 130.0))
    within = np.maximum(canvas.cavity[region.window] + 4, region.points[1] + 30).astype(np.float32)
    paint_vessel_net(canvas, region, within, 0.7 * patient.enhancement.portal_vein, 13.0, 0.13, rng)


def paint_liver(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Liver with hepatic and portal veins, a cyst or a metastasis at times, and the gall bladder under it."""
    enhancement = patient.enhancement
    region = canvas.region((-65.0, -40.0, -50.0), (125.0, 100.0, 130.0))
    right = ellipsoid(
        region.points,
        jitter((-70, -22, -80), rng, 4),
        (float(rng.uniform(90, 114)), 80.0, 70.0),
        rotation(about_x_deg=float(rng.uniform(-6, 6))),
    )
    left = ellipsoid(region.points, jitter((-88, -78, -14), rng, 5), (54.0, 36.0, float(rng.uniform(66, 88))))
    liver = join(right, left, 18.0)
    fissure = ellipsoid(region.points, jitter((-54, -100, -28), rng, 3), (24.0, 15.0, 2.5), rotation(20))
    hollow = ellipsoid(region.points, (-18.0, -52.0, -26.0), (34.0, 26.0, 26.0))
    liver = overlap(overlap(liver, -fissure, 5.0), -hollow, 12.0)
    liver = inside_cavity(canvas, region, liver, blend_mm=8.0)
    liver = overlap(liver, (diaphragm_height(region.points) - region.points[0]) * np.float32(0.8) + 2, 6.0)
    canvas.paint(region, liver, enhancement.liver + 3 * smooth_noise(region, rng, 7.0))
    paint_vessel_net(canvas, region, liver + 5, enhancement.portal_vein, 24.0, 0.11, rng)
    for chance, smallest, largest, hu in LIVER_SPOTS:
        centre, radius = jitter((-62, -35, -82), rng, 17), float(rng.uniform(smallest, largest))
        if rng.random() < chance:
            spot = ellipsoid(region.points, centre, (radius, radius * 0.95, radius * 1.05))
            canvas.paint(region, np.maximum(spot, liver + 2), hu)
    paint_gall_bladder(canvas, rng)


def paint_gall_bladder(canvas: Canvas, rng: np.random.Generator) -> None:
    """Gall bladder: water, smooth and round like a cyst, but under the liver."""
    centre = jitter((-12, -72, -46), rng, 4)
    radii = (float(rng.uniform(22, 32)), float(rng.uniform(13, 18)), float(rng.uniform(11, 16)))
    region = canvas.region(centre, (36.0, 36.0, 36.0))
    frame = rotation(about_z_deg=float(rng.uniform(15, 50)), about_x_deg=float(rng.uniform(-35, -10)))
    bladder = ellipsoid(region.points, centre, radii, frame)
    canvas.paint(region, bladder - 2.0, 62.0)
    canvas.paint(region, bladder, float(rng.uniform(4, 16)))


def paint_spleen(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Spleen: a crescent along the left wall, striped in the arterial phase."""
    centre = jitter((-72, 4, 98), rng, 4)
    region = canvas.region(centre, (62.0, 62.0, 52.0))
    outer = ellipsoid(region.points, centre, (float(rng.uniform(44, 56)), 50.0, 36.0), rotation(-18))
    bed = ellipsoid(region.points, (centre[0], centre[1] - 12, centre[2] - 34), (70.0, 42.0, 34.0), rotation(-18))
    spleen = inside_cavity(canvas, region, overlap(outer, -bed, 8.0), 2.0)
    stripes = np.sin(4 * smooth_noise(region, rng, 14.0))
    arterial = np.clip((patient.enhancement.aorta - 200) / 100, 0, 1)
    canvas.paint(region, spleen, (patient.enhancement.spleen + 16 * arterial * stripes).astype(np.float32))


def paint_stomach(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Stomach with gas in front of fluid or oral contrast, and the pancreas behind it."""
    centre = jitter((-74, -60, 54), rng, 5)
    region = canvas.region(centre, (58.0, 56.0, 66.0))
    stomach = ellipsoid(region.points, centre, (50.0, 38.0, 37.0), rotation(about_z_deg=25, about_x_deg=15))
    antrum = ellipsoid(
        region.points, (centre[0] + 30, centre[1] - 14, centre[2] - 32), (20.0, 19.0, 36.0), rotation(0, 35)
    )
    stomach = inside_cavity(canvas, region, join(stomach, antrum, 14.0), 4.0)
    folds = 1.6 * smooth_noise(region, rng, 7.0)
    fluid = float(rng.choice([18.0, 30.0, 190.0], p=[0.5, 0.25, 0.25]))
    canvas.paint(region, stomach, 82.0)
    canvas.paint(region, stomach + 4 + folds, with_gas(region, centre[1] - float(rng.uniform(2, 22)), fluid))
    paint_pancreas(canvas, patient, rng)


def with_gas(region: Region, level_y_mm: float, fluid_hu: float | Array) -> Array:
    """Gas above a horizontal level (the patient lies on the back), fluid below it."""
    share = np.clip(0.5 + (region.y - level_y_mm) / 2.0, 0, 1)[None, :, None]
    return np.broadcast_to(GAS_HU + share * (fluid_hu - GAS_HU), region.points[0].shape).astype(np.float32)


def paint_pancreas(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Pancreas: lobulated, from the duodenum across the spine towards the spleen, the splenic vein behind it."""
    path = np.array(
        [[6, -50, -30], [-10, -56, -22], [-20, -64, -4], [-26, -58, 20], [-34, -40, 46], [-42, -24, 66]], dtype=float
    )
    path += rng.normal(0, 2.5, path.shape)
    curve = smooth_curve(path, 7.0)
    region, distance = canvas.tube(curve, np.interp(np.linspace(0, 1, len(curve)), [0, 0.2, 1], [13.0, 10.5, 8.5]))
    lobes = 1.8 * smooth_noise(region, rng, 5.0)
    canvas.paint(region, distance + lobes, patient.enhancement.pancreas - 6 * lobes)
    splenic = moved(curve[len(curve) // 3 :], 2, 11, 0)
    vein, distance = canvas.tube(splenic, np.full(len(splenic), 4.2))
    canvas.paint(vein, distance, patient.enhancement.portal_vein)


def paint_bowel(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Duodenum, loops of small bowel, and the colon as a frame around them."""
    contrast = rng.random() < 0.35
    duodenum = np.array([[-14, -62, -38], [2, -48, -42], [24, -36, -38], [38, -42, -12], [34, -46, 22]], dtype=float)
    loops = [duodenum + rng.normal(0, 2, duodenum.shape)]
    loops += [_wander(start, rng) for start in LOOP_STARTS]
    for path in loops:
        curve = smooth_curve(path, 7.0)
        filled = float(rng.uniform(170, 260)) if contrast and rng.random() < 0.7 else float(rng.uniform(12, 40))
        radius = float(rng.uniform(9.0, 11.5))
        waves = radius * (1 + 0.14 * np.sin(np.arange(len(curve)) * 1.1))
        region, distance = canvas.tube(curve, waves)
        distance = inside_cavity(canvas, region, distance + 0.8 * smooth_noise(region, rng, 5.0), 3.0)
        canvas.paint(region, distance, float(rng.uniform(80, 115)))
        mix = 10 * smooth_noise(region, rng, 6.0)
        canvas.paint(region, distance + float(rng.uniform(2.5, 5.0)), filled + mix)
        bubbles = smooth_noise(region, rng, 12.0)
        canvas.paint(region, np.maximum(distance + 4, (1.5 - bubbles) * 8).astype(np.float32), GAS_HU)
    _paint_colon(canvas, rng)


def _wander(start: Vector, rng: np.random.Generator) -> NDArray[np.float64]:
    """A loop of bowel: a walk in bends that stays in the middle of the abdomen."""
    point, path = np.asarray(start, dtype=float), [np.asarray(start, dtype=float)]
    heading = rng.standard_normal(3)
    middle = 0.6 * np.asarray(start, dtype=float) + 0.4 * np.array([62.0, -68.0, 8.0])
    reach = np.array([34.0, 24.0, 46.0])
    for _ in range(9):
        heading += 0.9 * rng.standard_normal(3) - 1.1 * (point - middle) / reach
        heading /= np.linalg.norm(heading)
        point = point + 24 * heading
        path.append(point)
    return np.array(path)


def _paint_colon(canvas: Canvas, rng: np.random.Generator) -> None:
    """Ascending, transverse and descending colon with haustra, faeces and gas."""
    sag = float(rng.uniform(10, 34))
    ascending = np.array([[125, -38, -92], [80, -34, -97], [48, -40, -92], [36, -58, -84]], dtype=float)
    transverse = np.array(
        [[36, -62, -82], [sag + 14, -94, -52], [sag + 22, -102, 0], [sag, -96, 52], [-18, -66, 90]], dtype=float
    )
    descending = np.array([[-20, -52, 98], [16, -26, 106], [60, -18, 106], [125, -24, 100]], dtype=float)
    for path, radius, gas in ((ascending, 21.0, 0.25), (transverse, 16.0, 0.75), (descending, 13.5, 0.35)):
        curve = smooth_curve(path + rng.normal(0, 3, path.shape), 6.0)
        haustra = radius * (1 + 0.13 * np.sin(np.arange(len(curve)) * 1.25 + rng.uniform(0, 6)))
        region, distance = canvas.tube(curve, haustra)
        distance = inside_cavity(canvas, region, distance, 3.0)
        canvas.paint(region, distance, 70.0)
        crumbs = smooth_noise(region, rng, 4.0)
        stool = (20 + 45 * crumbs - 260 * np.clip(crumbs - 0.9, 0, 1)).astype(np.float32)
        level = float(np.median(curve[:, 1])) + radius * (2 * gas - 1)
        canvas.paint(region, distance + 2.2, with_gas(region, level, stool))

"""The trunk: table, skin, fat, muscles, lungs, ribs, spine and the great vessels."""

import numpy as np

from nnunet_kits.phantom.anatomy import Body, Patient
from nnunet_kits.phantom.canvas import Canvas, Region, smooth_noise
from nnunet_kits.phantom.shapes import FAR, Array, Points, ellipsoid, overlap

FAT_HU, LUNG_HU, CORTICAL_HU, DISC_HU = -104.0, -860.0, 450.0, 85.0
VERTEBRA_MM = 36.0
"""Height of one vertebra and its disc."""


def paint_wall(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Table, skin, subcutaneous fat, muscle and the fat-filled cavity; sets ``canvas.cavity``."""
    body, region = patient.body, canvas.region()
    _paint_table(canvas, region, body)
    _, y, x = region.points
    depth = np.where(y > body.middle_y, np.float32(body.back), np.float32(body.front))
    ry, rx = (y - body.middle_y) / depth, x / np.float32(body.half_width)
    level = (np.abs(ry) ** 2.3 + np.abs(rx) ** 2.3) ** np.float32(1 / 2.3)
    radius = np.hypot(y - body.middle_y, x)
    skin = radius * (1 - 1 / np.maximum(level, 1e-3))
    canvas.paint(region, skin, 25.0)
    canvas.paint(region, skin + 2.0, FAT_HU)
    wave = smooth_noise(region, rng, 22.0)
    muscle = skin + body.fat * (1 + 0.25 * np.clip(-ry, 0, 1) ** 2) + wave  # the belly is fattest
    canvas.paint(region, muscle, patient.enhancement.muscle)
    stripe = np.abs(muscle + body.muscle * 0.5) - 0.5  # fat between the oblique muscles
    canvas.paint(region, stripe + np.float32(3) * (ry > 0.2), -10.0)
    flank = np.clip(np.abs(rx) * 1.2, 0, 1) ** 2
    midline = np.where(ry < 0, np.exp(-((x / 7) ** 2)), 0).astype(np.float32)
    thickness = body.muscle * (0.75 + 0.5 * flank - 0.6 * midline)
    canvas.cavity = (muscle + thickness + 0.6 * wave).astype(np.float32)
    canvas.paint(region, canvas.cavity, FAT_HU)


def _paint_table(canvas: Canvas, region: Region, body: Body) -> None:
    """A curved shell with foam in it under the back; rigid, so it is not deformed."""
    top = body.middle_y + body.back + 5 - (region.x[None, None, :] / 42.0) ** 2
    height = region.y[None, :, None] - top
    distance = np.broadcast_to(np.abs(height - 11) - 11, region.points[0].shape).astype(np.float32)
    canvas.paint(region, distance, 0.0)
    canvas.paint(region, distance + 3.5, -940.0)


def diaphragm_height(points: Points) -> Array:
    """Patient z of the diaphragm above each voxel: a dome, lowest along the back and the flanks."""
    _, y, x = points
    height = -128 + np.clip((np.abs(x) - 55) / 62, 0, None) ** 2 * 30 + np.clip((y + 30) / 60, -0.4, 1.5) * 38
    return height.astype(np.float32)


def paint_chest(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Lung bases above the diaphragm, and the lowest ribs in the wall."""
    region = canvas.region((-100.0, 0.0, 0.0), (90.0, FAR, FAR))
    z = region.points[0]
    lung = np.maximum((z - diaphragm_height(region.points)) * 0.8, canvas.cavity[region.window] + 1.5)
    canvas.paint(region, lung - 3.0, 55.0)
    canvas.paint(region, lung, LUNG_HU + 25 * smooth_noise(region, rng, 9.0))
    mediastinum = np.maximum(ellipsoid(region.points, (-110.0, -12.0, 0.0), (FAR, 30.0, 30.0)), lung - 4)
    canvas.paint(region, mediastinum, FAT_HU)
    _paint_ribs(canvas, region, patient.body)


def _paint_ribs(canvas: Canvas, region: Region, body: Body) -> None:
    """Ribs run down and forwards around the trunk, the lowest ones ending in the flank."""
    z, y, x = region.points
    angle = np.abs(np.arctan2(x, y - body.middle_y))  # 0 at the back, pi in front
    depth = canvas.cavity[region.window] - 0.35 * body.muscle
    for last_angle, head in ((1.15, -58.0), (1.75, -88.0), (2.35, -118.0), (2.45, -148.0), (2.5, -178.0)):
        height = head + 62 * np.clip(angle - 0.25, 0, 1.3) - 16 * np.clip(angle - 1.55, 0, 2)
        section = np.hypot((z - height) / 1.7, depth) - 4.2
        rib = np.maximum(section, (angle - last_angle) * 100).astype(np.float32)
        canvas.paint(region, rib, CORTICAL_HU)
        canvas.paint(region, rib + 1.8, 190.0)


def paint_spine(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Vertebrae with a cortical shell, discs, canal, arch and processes, between the muscles of the back."""
    _paint_back_muscles(canvas, patient)
    region = canvas.region((0.0, 15.0, 0.0), (FAR, 70.0, 62.0))
    z, y, x = region.points
    phase = np.mod(z + VERTEBRA_MM * 0.5, VERTEBRA_MM) - VERTEBRA_MM * 0.5
    canal = ellipsoid(region.points, (0.0, 25.0, 0.0), (FAR, 8.5, 11.5))
    waist = (1.2 * (1 - (phase / 13.5) ** 2)).astype(np.float32)
    column = overlap(ellipsoid(region.points, (0.0, 0.0, 0.0), (FAR, 17.0, 23.0)), -(canal - 2.5), 4.0)
    grain = patient.enhancement.bone + 22 * smooth_noise(region, rng, 4.0)
    canvas.paint(region, column, DISC_HU)
    vertebra = overlap(column + waist, (np.abs(phase) - 13.5).astype(np.float32), 3.0)
    _paint_bone(canvas, region, vertebra, grain, 1.6)
    arch = np.maximum(np.abs(canal - 3.0) - 2.6, np.abs(phase + 1) - 9.5).astype(np.float32)
    arch = np.maximum(arch, 14 - y)
    _paint_bone(canvas, region, arch, grain, 1.5)
    for side in (-1, 1):
        facet = ellipsoid(region.points, (0.0, 32.0, 17.0 * side), (FAR, 8.0, 6.5))
        facet = np.maximum(facet, np.abs(np.mod(phase + 36, 36) - 18) - 12).astype(np.float32)
        _paint_bone(canvas, region, facet, grain, 1.8)
        process = np.hypot((phase + 3) / 1.3, y - 24 - 0.22 * np.abs(x)) - 3.2
        process = np.maximum(process, np.maximum(14 - side * x, side * x - 40)).astype(np.float32)
        _paint_bone(canvas, region, process, grain, 1.5)
    spinous = np.maximum(np.hypot((phase - 4) / 10, x / 3.6) * 3.6 - 3.6, np.maximum(34 - y, y - 58))
    _paint_bone(canvas, region, spinous.astype(np.float32), grain, 1.5)
    canvas.paint(region, canal, 22.0)
    cord = ellipsoid(region.points, (0.0, 24.5, 0.0), (FAR, 4.5, 5.0))
    canvas.paint(region, np.maximum(cord, z + 12).astype(np.float32), 42.0)


def _paint_bone(canvas: Canvas, region: Region, distance: Array, inside: Array, shell_mm: float) -> None:
    canvas.paint(region, distance, CORTICAL_HU)
    canvas.paint(region, distance + shell_mm, inside)


def _paint_back_muscles(canvas: Canvas, patient: Patient) -> None:
    """Erector spinae, quadratus lumborum and psoas, which widens towards the feet; crura beside the aorta."""
    hu = patient.enhancement.muscle
    for side in (-1, 1):
        region = canvas.region((0.0, 22.0, 40.0 * side), (FAR, 50.0, 45.0))
        points = region.points
        grow = np.clip((points[0] + 70) / 150, 0, 1.2)
        erector = ellipsoid(points, (0.0, 50.0, 28.0 * side), (FAR, 17.0, 27.0))
        canvas.paint(region, overlap(erector, canvas.cavity[region.window] * -1 - 14, 3.0), hu)
        multifidus = ellipsoid(points, (0.0, 36.0, 17.0 * side), (FAR, 20.0, 17.0))
        canvas.paint(region, multifidus, hu - 6)
        lumborum = ellipsoid(points, (40.0, 37.0, 57.0 * side), (95.0, 7.5, 17.0))
        canvas.paint(region, lumborum, hu)
        across = points[2] - side * (30 + 7 * grow)
        psoas = np.hypot((points[1] - 4) * 0.82, across) - (3 + 17 * grow)
        canvas.paint(region, psoas.astype(np.float32), hu + 4)
        crus = ellipsoid(points, (-70.0, -10.0, 19.0 * side), (75.0, 19.0, 5.0))
        canvas.paint(region, crus, hu + 6)


def paint_great_vessels(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Aorta with its branches to the gut, inferior vena cava, and at times a calcified wall."""
    enhancement = patient.enhancement
    region = canvas.region((0.0, -28.0, -2.0), (FAR, 22.0, 40.0))
    cava = ellipsoid(region.points, (0.0, -27.0, -19.0), (FAR, 8.5, 12.5))
    mixing = enhancement.vena_cava + 9 * smooth_noise(region, rng, 12.0)
    canvas.paint(region, cava - 0.8, 45.0)
    canvas.paint(region, cava, mixing)
    aorta = ellipsoid(region.points, (0.0, -28.0, 9.0), (FAR, 10.0, 10.0))
    canvas.paint(region, aorta - 1.0, 55.0)
    canvas.paint(region, aorta, enhancement.aorta)
    if rng.random() < 0.4:
        plaque = smooth_noise(region, rng, 7.0)
        canvas.paint(region, np.maximum(np.abs(aorta) - 1.0, (1.4 - plaque) * 4).astype(np.float32), 650.0)
    mesenteric = np.array([[-28, -36, 9], [-20, -46, 8], [0, -54, 6], [40, -60, 3], [80, -64, -4]], dtype=float)
    celiac = np.array([[-42, -36, 9], [-44, -48, 8], [-46, -56, 2], [-50, -62, -14]], dtype=float)
    for path, radius in ((mesenteric, 3.6), (celiac, 3.2)):
        branch, distance = canvas.tube(path, np.linspace(radius, radius * 0.7, len(path)))
        canvas.paint(branch, distance, enhancement.aorta * 0.95)
    vein = np.array([[-24, -58, -8], [0, -60, -8], [40, -66, -10], [80, -70, -16]], dtype=float)
    branch, distance = canvas.tube(vein, np.array([6.5, 6.0, 5.0, 3.5]))
    canvas.paint(branch, distance, enhancement.portal_vein)


def inside_cavity(canvas: Canvas, region: Region, distance: Array, gap_mm: float = 1.5, blend_mm: float = 6.0) -> Array:
    """The part of a body that lies within the abdominal cavity, ``gap_mm`` off its wall."""
    return overlap(distance, canvas.cavity[region.window] + gap_mm, blend_mm)

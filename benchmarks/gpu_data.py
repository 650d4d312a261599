"""Data and plans for `gpu.py`: phantoms at a CT's size, planned and preprocessed by the package's own commands.

A phantom is rendered coarsely, enlarged, and given a scanner's noise again: rendering it finely takes most of a minute
and shows the network nothing more. The whole is stretched to a field of view of 400 mm, about KiTS's median.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from trainers import DATASET, shrunk

from nnunet_kits.machine import cpu_count

PLANS, RESENC_PLANS = "GpuCascadePlans", "KiTSResEncLPlans"
LABELS = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
FIELD_MM = 400.0
NOISE_HU = 10.0
HELD_OUT = "case_00000"
ITERATIONS_PER_EPOCH = 250
"""Of nnU-Net's training."""


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        matrix: rows and columns of a phantom as it is rendered.
        slices_mm: its slice spacing as it is rendered.
        enlarge: factor by which it is enlarged along every axis.
        slice_mm: slice spacing of the CT that is made of it.
        cases: phantoms to train on; one more is held out.
        spacings_mm: of the coarse and the fine stage.
        patch: edge of the cascade's patches.
        features: of the first stage and at most.
        learning_rate: of the short training.
        iterations: of the short training of the coarse and the fine stage.
        step_patch: edge of the patch of the training steps whose losses are compared.
        mirroring: whether to mirror, for each round of predictions.
    """

    matrix: int
    slices_mm: float
    enlarge: int
    slice_mm: float
    cases: int
    spacings_mm: tuple[float, float]
    patch: int
    features: tuple[int, int]
    learning_rate: float
    iterations: tuple[int, int]
    step_patch: int
    mirroring: tuple[bool, ...]


FULL = Scale(256, 1.7, 2, 1.0, 4, (1.99, 0.78), 128, (32, 320), 1e-3, (200, 80), 64, (False, True))
SMALL = Scale(64, 6.0, 1, 7.0, 2, (12.0, 6.0), 32, (8, 32), 3e-3, (120, 40), 32, (False,))


def make_data(folder: Path, scale: Scale) -> dict[str, float]:
    """Render, write, plan, and preprocess for the cascade, below ``folder``; nnU-Net's variables must be set.

    Returns:
        Seconds by step.
    """
    seconds, start = {}, time.perf_counter()

    def note(step: str) -> None:
        nonlocal start
        seconds[step] = round(time.perf_counter() - start, 1)
        start = time.perf_counter()

    raw, preprocessed = (folder / name / DATASET for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    for made in (raw / "imagesTr", raw / "labelsTr", preprocessed, folder / "test"):
        made.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(min(cpu_count(), scale.cases + 1)) as pool:
        numbers = range(scale.cases + 1)
        found = list(
            pool.map(write_case, numbers, [raw] * len(numbers), [folder] * len(numbers), [scale] * len(numbers))
        )
    note("phantoms")
    content = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": scale.cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint(found[1:])))
    plan(folder, scale)
    note("plans")
    preprocess(scale, PLANS, "3d_lowres", "3d_fullres")
    note("preprocess")
    return seconds


def preprocess(scale: Scale, plans: str, *configurations: str) -> None:
    """Preprocess some configurations; in one process where that is quicker than to start others."""
    from nnunet_kits.cli.main import main

    workers = 1 if scale is SMALL else min(cpu_count(), scale.cases)
    words = ["preprocess", "-d", "220", "-p", plans, "-c", *configurations, "-np", str(workers)]
    if main(words):
        raise SystemExit(f"nnunet_kits {' '.join(words)} failed")


def write_case(number: int, raw: Path, folder: Path, scale: Scale) -> dict[str, Any]:
    """Make one case and write it: case 0 to ``folder/test``, the others to the training set.

    Returns:
        What nnU-Net's fingerprint says of a case: ``shape``, ``spacing`` and HU of labelled voxels.
    """
    image, label, spacing = render(number, scale)
    name = f"case_{number:05d}"
    images, labels = (folder / "test" / "in", folder / "test") if number == 0 else (raw / "imagesTr", raw / "labelsTr")
    images.mkdir(exist_ok=True)
    write_nifti(images / f"{name}_0000.nii.gz", image, spacing)
    write_nifti(labels / f"{name}.nii.gz", label, spacing)
    return {"shape": image.shape, "spacing": spacing, "hu": image[label > 0][::97].tolist()}


def render(number: int, scale: Scale) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """A phantom as a CT: int16 HU and uint8 labels (z, y, x), and mm along these axes."""
    from scipy import ndimage

    from nnunet_kits.phantom import Size, make_phantom

    phantom = make_phantom(number, size=Size("benchmark", (scale.matrix,), (scale.slices_mm,), 10**6))
    image, label, times = phantom.image, phantom.label, scale.enlarge
    if times > 1:
        image = ndimage.zoom(image, times, order=1, mode="nearest", grid_mode=True)
        label = label.repeat(times, 0).repeat(times, 1).repeat(times, 2)
        image += NOISE_HU * np.random.default_rng(number).standard_normal(image.shape, dtype=np.float32)
    edge = FIELD_MM / image.shape[1]
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16), label, (scale.slice_mm, edge, edge)


def write_nifti(path: Path, array: np.ndarray, spacing_zyx_mm: tuple[float, float, float]) -> None:
    """Write slices, rows, columns as KiTS has them: axis codes I, P, L."""
    from nnunet_kits.images import write_volume

    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[2, 0], affine[1, 1], affine[0, 2] = (-edge for edge in spacing_zyx_mm)
    write_volume(path, array, affine)


def fingerprint(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """What nnU-Net's planner wants to know of a dataset."""
    hu = np.concatenate([case["hu"] for case in cases])
    low, middle, high = np.percentile(hu, (0.5, 50, 99.5)).tolist()
    numbers = {"mean": float(hu.mean()), "std": float(hu.std()), "min": float(hu.min()), "max": float(hu.max())}
    numbers |= {"median": middle, "percentile_00_5": low, "percentile_99_5": high}
    return {
        "foreground_intensity_properties_per_channel": {"0": numbers},
        "median_relative_size_after_cropping": 1.0,
        "shapes_after_crop": [list(case["shape"]) for case in cases],
        "spacings": [list(case["spacing"]) for case in cases],
    }


def plan(folder: Path, scale: Scale) -> None:
    """The cascade of KiTSCascadePlans from 32 features, and nnU-Net's ResEnc L as KiTSResEncLPlans sizes it."""
    from nnunet_kits.cli.main import main
    from nnunet_kits.planning.presets import PRESETS_FOLDER

    preset = json.loads((PRESETS_FOLDER / "KiTSCascadePlans.json").read_text())
    preset |= dict(zip(("features_first", "features_max"), scale.features, strict=True))
    for name, spacing in zip(("3d_lowres", "3d_fullres"), scale.spacings_mm, strict=True):
        preset["configurations"][name] |= {"spacing_zyx_mm": [spacing] * 3, "patch_size": [scale.patch] * 3}
    file = folder / f"{PLANS}.json"
    file.write_text(json.dumps(preset))
    for given in (str(file), RESENC_PLANS):
        if main(["plan", "-d", "220", "--preset", given]):
            raise SystemExit(f"nnunet_kits plan --preset {given} failed")
    if scale is SMALL:
        shrink_resenc(folder, scale)


def shrink_resenc(folder: Path, scale: Scale) -> None:
    """ResEnc L small enough for a CPU."""
    file = folder / "nnUNet_preprocessed" / DATASET / f"{RESENC_PLANS}.json"
    plans = json.loads(file.read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration |= {"spacing": [scale.spacings_mm[1]] * 3, **shrunk(configuration, scale.patch, scale.features, 4)}
    file.write_text(json.dumps(plans))

"""Scans on their way through systems, against literal numpy, torch's interpolation and stock nnU-Net."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from raw_datasets import CLASSES, dataset_json, save, write_rule
from scipy import ndimage
from small_models import ByIntensity, model, plans_with
from small_plans import REGIONS
from test_inference import SPACING, abdomen, stock_labels
from test_inference_files import OBLIQUE

from nnunet_kits.cli.main import main
from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import crop
from nnunet_kits.inference import stages
from nnunet_kits.inference.joining import inside, translation
from nnunet_kits.inference.memory import bytes_of_system
from nnunet_kits.inference.scan import Scan
from nnunet_kits.inference.stages import predict_with_system
from nnunet_kits.inference.system import load_system

KIDNEY = {"background": 0, "kidney": 1}
LESIONS = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3, "ignore": 4}
TUMOR = {"background": 0, "tumor": 1}


def unresampled(configuration="3d_fullres", patch=(8, 24, 32)):
    """Plans that leave a prepared scan on its own voxels."""
    plans = plans_with(patch=patch)
    for kind in ("data", "seg", "probabilities"):
        changes = {f"resampling_fn_{kind}": "no_resampling_hack", f"resampling_fn_{kind}_kwargs": {}}
        plans["configurations"][configuration].update(changes)
    if len(patch) == 2:
        plans["configurations"][configuration]["spacing"] = [1.0, 1.0]
    return plans


def smaller(name, *sizes):
    """A shipped system whose stages resize to other sizes."""
    system = load_system(name)
    changed = [
        replace(stage, prepare=replace(stage.prepare, size=size))
        for stage, size in zip(system.stages, sizes, strict=True)
    ]
    return replace(system, stages=tuple(changed))


class Above(torch.nn.Module):
    """Its one label is where the intensity is above a value, in units of 100 HU."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.cat([self.value - x, x - self.value], 1)


class Lesions(torch.nn.Module):
    """Kidney, tumour, cyst by intensity; the background wins nowhere but in the dense bone."""

    def forward(self, x):
        return torch.cat([x - 3.5, *(-((x - k) ** 2) for k in (1, 2, 3))], 1)


def by_key(system, **models):
    """Models for the members of a system."""
    return {member: models[member.key] for member in system.members}


def resized(image, shape):
    """As torch resizes an image, in whole HU."""
    given = torch.from_numpy(np.asarray(image, np.float64))[None, None]
    return torch.nn.functional.interpolate(given, shape, mode="trilinear", align_corners=False)[0, 0].round().numpy()


def nearest(labels, shape):
    """The sample that lies nearest to each voxel of a finer or coarser grid over the same extent."""
    places = [np.floor((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(shape, labels.shape, strict=True)]
    return labels[np.ix_(*places)]


def kidney_with_lesions(shape=(20, 45, 57)):
    """A scan with two kidneys, in one of them a tumour, a cyst and a calcified centre; whole HU."""
    image = abdomen(shape, ((10, 20, 16), (10, 22, 40)), radius_mm=11.0, lesion=False)
    image[8:12, 18:23, 14:19] = 200
    image[9:11, 20:25, 38:43] = 300
    image[10, 22, 40] = 400
    return image.astype(np.int16)


def chen_zhang(fine_size=(None, 37, 65), coarse_size=(15, 15, 15)):
    """Their system in small, and its three models; with odd sizes no voxel lies halfway between two samples."""
    system = smaller("kits23_chenzhang", coarse_size, fine_size)
    fine = (8, *fine_size[1:])
    models = {
        "coarse": [model(Above(0.5), unresampled(patch=coarse_size), labels=KIDNEY)],
        "kidney": [model(Above(0.6), unresampled(patch=fine), labels=KIDNEY)],
        "lesions": [model(Lesions(), unresampled(patch=fine), labels=LESIONS)],
    }
    return system, by_key(system, **models)


def literal_chen_zhang(image, fine_plane, coarse_size):
    """The same, line by line, with nothing of the package."""
    coarse = nearest(np.clip(resized(image, coarse_size), -100, 400) / 100 > 0.5, image.shape)
    found = np.argwhere(coarse)
    low = np.maximum(found.min(0) - (4, 20, 20), 0)
    high = np.minimum(found.max(0) + 1 + (4, 20, 20), image.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    region = image[box]
    fine = np.clip(resized(region, (len(region), *fine_plane)), -100, 400) / 100
    kidney = nearest(fine > 0.6, region.shape)
    lesions = nearest(np.stack([fine - 3.5, *(-((fine - k) ** 2) for k in (1, 2, 3))]).argmax(0), region.shape)
    labels = np.zeros(image.shape, np.uint8)
    labels[box] = np.where(kidney, np.where(lesions == 0, 1, lesions), 0)
    pieces, count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    for piece in range(1, count + 1):
        if (pieces == piece).sum() <= 10000:
            labels[pieces == piece] = 0
    unsure = np.zeros(image.shape, bool)  # rounding to a whole HU and half precision decide
    unsure[box] = nearest(np.min([np.abs(fine - border) for border in (0.6, 1.5, 2.5)], 0) < 0.016, region.shape)
    return labels, box, unsure


def test_chen_and_zhangs_system_is_the_literal_one():
    image = kidney_with_lesions()
    system, models = chen_zhang()
    found = predict_with_system(image, SPACING, replace(system, postprocessing=None), models)
    expected, box, _ = literal_chen_zhang(image, (37, 65), (15, 15, 15))
    assert found.boxes == [tuple((part.start, part.stop) for part in box)]
    assert not expected.any()  # both kidneys are far below 10000 voxels
    assert set(np.unique(found.labels)) == {0, 1, 2, 3}
    assert found.labels[10, 22, 40] == 1  # background of the lesion model, inside the kidney
    assert not predict_with_system(image, SPACING, system, models).labels.any()
    phases = ("coarse prepare", "coarse network", "kidney network", "lesions network", "fine join")
    assert set(phases) <= set(found.seconds)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_what_is_larger_than_10000_voxels_stays_and_every_voxel_is_the_literal_one(seed):
    random = np.random.default_rng(seed)
    shape = (24, 44, 52)
    image = np.full(shape, -80, np.int16)
    a, b, c = random.integers(0, 3, 3)
    image[a : a + 20, b : b + 25, c : c + 21] = random.integers(90, 310, (20, 25, 21))
    image[21:24, 36:44, 40:52] = 150
    system, models = chen_zhang((None, 47, 61))
    found = predict_with_system(image, SPACING, system, models)
    expected, _, unsure = literal_chen_zhang(image, (47, 61), (15, 15, 15))
    assert expected.any()
    assert np.array_equal(found.labels[~unsure], expected[~unsure])
    assert unsure.mean() < 0.03


@given(arrays(np.uint8, (4, 5, 6), elements=st.integers(0, 2)), arrays(np.uint8, (4, 5, 6), elements=st.integers(0, 3)))
def test_inside_takes_the_inner_label_where_there_is_one_and_nothing_outside(mask, labels):
    found = inside(mask, labels)
    for place in np.ndindex(mask.shape):
        expected = 0 if mask[place] == 0 else labels[place] if labels[place] else mask[place]
        assert found[place] == expected


def test_beheshtifards_tumour_is_looked_for_in_masked_hu_and_kept_inside_the_kidney():
    image = np.full((6, 30, 40), 5, np.int16)
    image[1:5, 12:28, 6:30] = 100
    image[2:4, 15:20, 10:18] = 200
    image[3:5, 2:6, 2:6] = 200  # a tumour by its HU, where no kidney is found
    system = smaller("kits21_beheshtifard", (None, 30, 40), (None, 30, 40))
    flat = unresampled(patch=(32, 40))
    seen = Seen(1.5)
    models = by_key(
        system,
        kidney=[model(OnlyMiddle(), flat, labels=KIDNEY)],
        tumor=[model(seen, flat, labels=TUMOR)],
    )
    found = predict_with_system(image, SPACING, system, models)
    kidney = np.zeros(image.shape, bool)
    kidney[:, 10:] = image[:, 10:] > 50
    assert np.array_equal(found.labels, np.where(kidney, np.where(image > 150, 2, 1), 0))
    assert set(np.unique(found.labels)) == {0, 1, 2}
    assert sorted(set(seen.values)) == sorted({0.0, *np.clip(image[kidney], -100, 400) / 100.0})


class OnlyMiddle(torch.nn.Module):
    """A kidney is what is dense, but not in the first ten rows of a slice of 30 in a window of 32."""

    def forward(self, x):
        x = x.clone()
        x[..., :11, :] = -1
        return torch.cat([0.5 - x, x - 0.5], 1)


class Seen(Above):
    """Remembers the intensities that it was shown."""

    def __init__(self, value):
        super().__init__(value)
        self.values = []

    def forward(self, x):
        self.values += np.unique(x.numpy().round(2)).astype(float).tolist()
        return super().forward(x)


@pytest.mark.parametrize("name", ["kits19_zhang", "kits19_chenjin", "kits21_george"])
def test_without_preparation_a_system_gives_the_label_map_of_stock_on_the_whole_scan(name):
    image = abdomen()
    system = load_system(name)
    plans = plans_with(spacing=(2.7, 1.9, 1.9))
    two = {"labels": {"background": 0, "kidney": 1, "tumor": 2}}
    if name == "kits21_george":
        low, full = model(ByIntensity(), plans, "3d_lowres"), model(ByIntensity(True), plans, "3d_cascade_fullres")
        full.network.follow_coarse = True
        models = by_key(system, low=[low], full=[full])
        expected = stock_labels(full, image, SPACING, stock_labels(low, image, SPACING))
    else:
        if name == "kits19_chenjin":
            flat = {**plans["configurations"]["3d_fullres"], "patch_size": [16, 16], "spacing": [1.9, 1.9]}
            plans["configurations"]["3d_fullres"] = flat
        only = model(ByIntensity(3), plans, **two)
        models, expected = by_key(system, model=[only]), stock_labels(only, image, SPACING)
    found = predict_with_system(image, SPACING, system, models)
    assert len(np.unique(expected)) == 3
    # probabilities are interpolated in place of logits, so voxels between two labels may differ
    assert np.mean(found.labels != expected) < (1e-4 if name == "kits21_george" else 2e-2)


def test_a_region_alone_gives_the_label_map_of_stock_on_the_crop():
    image = abdomen((30, 90, 120), ((15, 45, 50),))
    system, plans = load_system("kits21_george_cropped"), plans_with()
    low, full = model(ByIntensity(), plans, "3d_lowres"), model(ByIntensity(), plans)
    found = predict_with_system(image, SPACING, system, by_key(system, low=[low], full=[full]))
    where = np.argwhere(stock_labels(low, image, SPACING))
    (box,) = found.boxes
    assert box == tuple(
        (max(0, a - margin), min(size, b + 1 + margin))
        for a, b, margin, size in zip(where.min(0), where.max(0), (8, 32, 32), image.shape, strict=True)
    )
    expected = np.zeros(image.shape, np.uint8)
    expected[tuple(slice(*side) for side in box)] = stock_labels(full, crop(image, box), SPACING)
    assert np.array_equal(found.labels, expected)


def test_several_models_of_one_key_are_averaged_as_probabilities():
    system = load_system("kits19_zhang")
    plans = plans_with(spacing=SPACING)
    labels = {"labels": {"background": 0, "kidney": 1, "tumor": 2}}
    image = abdomen()
    sure, unsure = ByIntensity(3), Constant()
    models = [model(sure, plans, **labels), model(unsure, plans, **labels)]
    both = predict_with_system(image, SPACING, system, by_key(system, model=models)).labels
    value = np.clip(image, -100, 400) / 100
    logits = np.stack([-((value - k) ** 2) for k in range(3)])
    mean = np.exp(logits) / np.exp(logits).sum(0) + (np.exp([0, 0, 1]) / np.exp([0, 0, 1]).sum())[:, None, None, None]
    assert np.array_equal(both, mean.argmax(0))
    assert len(np.unique(both)) == 3


class Constant(torch.nn.Module):
    def forward(self, x):
        return torch.tensor([0.0, 0.0, 1.0]).reshape(1, 3, 1, 1, 1).expand(len(x), 3, *x.shape[2:])


@pytest.mark.parametrize("whole", [False, True])
def test_where_the_coarse_model_finds_nothing_the_map_is_empty_or_the_whole_scan_is_looked_at(whole):
    system, models = chen_zhang()
    image = kidney_with_lesions()
    (coarse,) = (member for member in models if member.key == "coarse")
    models[coarse][0].network.value = 9
    system = replace(system, postprocessing=None)
    found = predict_with_system(image, SPACING, system, models, whole_if_empty=whole)
    if whole:
        assert found.boxes == [((0, 20), (0, 45), (0, 57))]
        assert found.labels.any()
        assert found.notes == ["the stage coarse found nothing: the stage fine looked at the whole scan"]
    else:
        assert (found.boxes, found.labels.shape, found.labels.any()) == ([], image.shape, False)
        assert found.notes == ["the stage coarse found nothing: the label map is empty"]


def test_the_networks_are_shown_what_the_files_of_derived_datasets_hold(monkeypatch, tmp_path):
    shown = []

    class Watched(Scan):
        def __init__(self, image, *rest):
            super().__init__(image, *rest)
            shown.append(image)

    monkeypatch.setattr(stages, "Scan", Watched)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    source, reader = tmp_path / "Dataset220_KiTS2023", NibabelIOWithReorient()
    file = save(source / "imagesTr" / "case_00000_0000.nii.gz", kidney_with_lesions(), OBLIQUE)
    save(source / "labelsTr" / "case_00000.nii.gz", np.ones((20, 45, 57), np.uint8), OBLIQUE)
    (source / "dataset.json").write_text(json.dumps(dataset_json(CLASSES, cases=1)))
    (image,), about = reader.read_images([str(file)])
    system, models = chen_zhang()
    first = replace(system, stages=system.stages[:1], postprocessing=None)
    (box,) = predict_with_system(image, about["spacing"], system, models).boxes
    assert np.prod([stop - start for start, stop in box]) < image.size
    coarse = predict_with_system(image, about["spacing"], first, models)
    (tmp_path / "masks").mkdir()
    reader.write_seg(coarse.labels, str(tmp_path / "masks" / "case_00000.nii.gz"), about)
    for number, stage, words in ((221, 0, []), (222, 1, ["--masks", str(tmp_path / "masks")])):
        rule = write_rule(tmp_path / "small.json", preparation=system.stages[stage].prepare.as_json())
        assert main(["derive", "-d", "220", "-o", str(number), "--rule", str(rule), "-np", "1", *words]) == 0
        derived = tmp_path / f"Dataset{number}_KiTS2023Small" / "imagesTr" / "case_00000_0000.nii.gz"
        assert np.array_equal(reader.read_images([str(derived)])[0][0], shown[stage])


def test_a_label_is_known_by_its_name_and_a_region_by_the_label_it_leaves():
    labels = dict(load_system("kits23_chenzhang").labels)
    other = model(ByIntensity(2), plans_with(), labels={"background": 0, "tumor": 1, "cyst": 2})
    assert translation(other, labels)[:3].tolist() == [0, 2, 3]
    regions = model(ByIntensity(3), plans_with(), labels=REGIONS)
    assert translation(regions, labels)[:4].tolist() == [0, 1, 2, 3]
    with pytest.raises(InferenceError, match="has the label liver, but the system has kidney, tumor, cyst"):
        translation(model(ByIntensity(2), plans_with(), labels={"background": 0, "liver": 1}), labels)


def test_models_that_do_not_fit_their_places_are_refused():
    image = kidney_with_lesions()
    system, models = chen_zhang()
    coarse, kidney, lesions = models

    def predict(**changed):
        given = {coarse: models[coarse], kidney: models[kidney], lesions: models[lesions]}
        by_name = {"coarse": coarse, "kidney": kidney, "lesions": lesions}
        predict_with_system(image, SPACING, system, {**given, **{by_name[key]: [m] for key, m in changed.items()}})

    with pytest.raises(
        InferenceError,
        match=r"stage fine, model lesions: ResUNetTrainer__SmallPlans__3d_fullres has the labels kidney, but tumor, "
        r"cyst is needed there",
    ):
        predict(lesions=models[kidney][0])
    with pytest.raises(InferenceError, match=r"is the second stage of a cascade, but the stage coarse of .* reads no"):
        predict(coarse=model(Above(1), plans_with(), "3d_cascade_fullres", labels=KIDNEY))
    other = unresampled()
    other["image_reader_writer"] = "SimpleITKIO"
    with pytest.raises(InferenceError, match="read images with different readers"):
        predict(kidney=model(Above(1), other, labels=KIDNEY))
    zhang = load_system("kits19_zhang")
    two = {"background": 0, "kidney": 1, "tumor": 2}
    apart = [model(ByIntensity(3), plans_with(), labels=two)]
    apart.append(model(ByIntensity(2), plans_with(), labels={**two, "cyst": 3}))
    with pytest.raises(InferenceError, match="has the label cyst, but the system has kidney, tumor"):
        predict_with_system(image, SPACING, zhang, by_key(zhang, model=apart))
    turned = model(ByIntensity(3), plans_with(), labels={"background": 0, "kidney": 2, "tumor": 1})
    with pytest.raises(InferenceError, match="have different labels, so they cannot be averaged"):
        predict_with_system(image, SPACING, zhang, by_key(zhang, model=[apart[0], turned]))
    george = load_system("kits21_george")
    mixed = {"background": 0, "kidney": 1, "tumor": 3, "cyst": 2}
    both = {"low": [model(ByIntensity(), plans_with(), "3d_lowres", labels=mixed)]}
    both["full"] = [model(ByIntensity(4, True), plans_with(), "3d_cascade_fullres", labels=mixed)]
    with pytest.raises(InferenceError, match="has other values for its labels"):
        predict_with_system(image, SPACING, george, by_key(george, **both))


def test_memory_is_reckoned_for_what_the_stages_prepare_and_not_for_the_whole_scan():
    system, models = chen_zhang()
    small, large = (bytes_of_system(system, models, (slices, 512, 512), SPACING, 2) for slices in (100, 900))
    voxels = 800 * 512 * 512
    assert 6 * voxels < large - small < 12 * voxels  # the scan, three label maps, two on the way
    whole = load_system("kits19_zhang")
    plain = by_key(whole, model=[model(ByIntensity(3), unresampled())])
    assert bytes_of_system(whole, plain, (900, 512, 512), SPACING, 2) > large

"""Sets of augmentations: what they draw, what they do to voxels, and what is refused."""

import json
import pickle

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from scipy import ndimage, stats

from nnunet_kits.augmentation import set_pipeline
from nnunet_kits.augmentation.filters import smooth as smooth_in_loops
from nnunet_kits.augmentation.pipeline import Accelerated, accelerate
from nnunet_kits.augmentation.set_spatial import SetSpatial, rotation_matrix, smooth
from nnunet_kits.augmentation.set_steps import BrightnessAndContrast, Clip, OneOf, Within
from nnunet_kits.augmentation.sets import DEFAULT_SET, KINDS, Step, load_set, set_names
from nnunet_kits.errors import TrainingError
from nnunet_kits.training.loaders import Triple

NAMED = [name for name in set_names() if name != DEFAULT_SET]
LABELS = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
REGIONS = {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}
DRAWS = 2000


@pytest.fixture(autouse=True)
def seeded():
    """The same draws in every run."""
    np.random.seed(1)
    torch.manual_seed(1)


def sample(shape, seed=0):
    """A smooth image with noise, and smooth labels from 0 to 3."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) + 0.02 * rng.standard_normal(shape)
    labels = np.clip(np.round(ndimage.gaussian_filter(rng.standard_normal(shape), 2) * 30 + 1), 0, 3)
    return {
        "image": torch.from_numpy(image[None].astype(np.float32)),
        "segmentation": torch.from_numpy(labels[None]).to(torch.int16),
    }


def copied(given):
    return {key: value.clone() for key, value in given.items()}


def pipeline_of(name, patch=(12, 16, 18), labels=LABELS):
    chosen = load_set(name)
    axes = chosen.mirror_axes(len(patch)) or None
    stock = nnUNetTrainer.get_training_transforms(patch, (-1, 1), None, axes, False, foreground_labels=[1, 2, 3])
    return set_pipeline.pipeline(chosen, patch, stock, labels, unit_hu=35.98)


# what is drawn


def uniform(low, high):
    return stats.uniform(low, high - low)


class Halves:
    """Below 1 half of the time, evenly on both sides."""

    @staticmethod
    def cdf(values):
        return np.where(values < 1, 0.5 * (values - 0.6) / 0.4, 0.5 + 0.5 * (values - 1) / 0.25)


def evenly_by_root(low, high):
    """Standard deviations whose squares are even."""
    return type("Root", (), {"cdf": staticmethod(lambda values: (np.square(values) - low) / (high - low))})


TURNED = {
    "zhang spatial": {"degrees": (1, uniform(-10, 10)), "shares": (1, type("Inverse", (), {
        "cdf": staticmethod(lambda values: uniform(0.9, 1.1).sf(1 / values))
    }))},
    "zhang intensity": {}, "zhang noise": {},
    "beheshtifard all": {"degrees": (0.3, uniform(-30, 30)), "shares": (0.5, None)},
    "beheshtifard_tumor all": {"degrees": (0.3, uniform(-30, 30)), "shares": (0.5, None)},
    "chen_jin all": {"shares": (0.1, Halves)},
    "chen_zhang all": {
        "shares": (1, uniform(0.6, 1.3)), "sigma": (0.5, uniform(3, 5)), "magnitude": (0.5, uniform(100, 200))
    },
}  # fmt: skip
"""Set and alternative -> what its spatial steps draw -> how often, and from what; written down apart from the files."""


def assert_drawn(found, share, distribution):
    """Values of ``DRAWS`` draws, None where the step was not done: as often and distributed as they should be."""
    done = [value for value in found if value is not None]
    if share == 1:
        assert len(done) == len(found)
    else:
        assert stats.binomtest(len(done), len(found), share).pvalue > 1e-3
    if distribution is not None:
        assert stats.kstest(done, distribution.cdf).pvalue > 1e-3


def test_every_set_and_alternative_has_its_ranges_written_down_here():
    assert {f"{name} {alternative}" for name in NAMED for alternative in load_set(name).alternatives} == set(TURNED)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("which", TURNED)
def test_voxels_are_moved_as_often_and_as_far_as_the_set_says(which, dimensions):
    name, alternative = which.split()
    patch = (4, 5, 6)[-dimensions:]
    spatial = SetSpatial(patch, load_set(name).alternatives[alternative])
    drawn = [spatial.draw(torch.empty(1, *patch)) for _ in range(DRAWS)]
    expected = TURNED[which]
    for key in ("degrees", "shares", "sigma", "magnitude"):
        values = [made[key] for made in drawn]
        if key not in expected:
            assert set(values) == {None}
            continue
        if key == "degrees":
            assert all(value is None or list(value) == ["z"] for value in values)
            values = [value and value["z"] for value in values]
        if key == "shares":
            assert all(v is None or dimensions == 2 or name == "chen_zhang" or v[0] == 1 for v in values)
            together = [v is None or v[-1] == v[-2] for v in values]
            assert all(together) != (name == "chen_zhang")
            values = [value if value is None else value[-1] for value in values]
        assert_drawn(values, *expected[key])


def test_a_crop_of_380_of_512_lies_anywhere_in_the_patch_and_one_that_is_larger_around_it():
    spatial = SetSpatial((512, 512), load_set("beheshtifard_tumor").alternatives["all"])
    drawn = [
        made for made in (spatial.draw(torch.empty(1, 512, 512)) for _ in range(DRAWS)) if made["shift"] is not None
    ]
    assert {tuple(512 * made["shares"]) for made in drawn} == {(380.0, 380.0)}
    for axis in range(2):
        assert_drawn([made["shift"][axis] for made in drawn], 1, uniform(-66, 66))
    spatial = SetSpatial((20, 20, 20), load_set("chen_zhang").alternatives["all"])
    for made in (spatial.draw(torch.empty(1, 20, 20, 20)) for _ in range(100)):
        assert (np.abs(made["shift"]) <= np.maximum(0, 10 * (1 - made["shares"]))).all()


INTENSITIES = {
    "zhang": {"BrightnessAndContrast": {"brightness": uniform(0.5, 1.5), "contrast": uniform(0.5, 1.5)},
              "GaussianNoiseTransform": {"sigmas": uniform(0, 0.3)}},
    "beheshtifard": {"GaussianNoiseTransform": {"sigmas": evenly_by_root(10 / 35.98**2, 50 / 35.98**2)}},
    "beheshtifard_tumor": {},
    "chen_jin": {},
    "chen_zhang": {"ContrastTransform": {"multipliers": uniform(0.6, 1.5)},
                   "MultiplicativeBrightnessTransform": {"multipliers": uniform(0.6, 1.5)},
                   "GammaTransform": {"gamma": uniform(0.6, 1.5)}},
}  # fmt: skip


def steps_of(made):
    """All steps of a pipeline, or of several, before nnU-Net's own."""
    for one in made.pipelines if isinstance(made, OneOf) else [made]:
        yield from one.transforms[
            1 : next(n for n, s in enumerate(one.transforms) if isinstance(s, set_pipeline.ENDING))
        ]


@pytest.mark.parametrize("name", NAMED)
def test_intensities_are_changed_as_often_and_as_much_as_the_set_says(name):
    kinds = set()
    for step in steps_of(pipeline_of(name)):
        share = getattr(step, "apply_probability", 1)
        assert share == (0.5 if name == "beheshtifard" else 1)
        if share < 1:
            done = [step.get_parameters()["apply_transform"] or None for _ in range(DRAWS)]
            assert_drawn(done, share, None)
        inner = getattr(step, "transform", step)
        if isinstance(inner, Clip):
            assert (inner.low, inner.high) == (-1, 1)
            continue
        kinds.add(type(inner).__name__)
        for key, distribution in INTENSITIES[name][type(inner).__name__].items():
            values = [inner.get_parameters(image=torch.empty(1, 2, 2))[key] for _ in range(DRAWS)]
            assert_drawn([float(value) for value in values], 1, distribution)
    assert kinds == set(INTENSITIES[name])


def test_chen_and_zhang_change_image_then_lesions_and_clip_last():
    steps = list(steps_of(pipeline_of("chen_zhang")))
    names = [type(step).__name__ for step in steps]
    assert names == [
        "ContrastTransform",
        "MultiplicativeBrightnessTransform",
        "GammaTransform",
        *["Within"] * 3,
        "Clip",
    ]
    assert [step.labels for step in steps[3:6]] == [(2, 3)] * 3
    gamma = steps[2]
    assert (gamma.p_invert_image, gamma.p_retain_stats, gamma.p_per_channel) == (0, 1, 1)


def test_mirrored_are_the_axes_that_a_set_names():
    axes = {name: (load_set(name).mirror_axes(3), load_set(name).mirror_axes(2)) for name in NAMED}
    flipped = ((1, 2), (0, 1))
    assert axes == {
        **dict.fromkeys(("beheshtifard", "beheshtifard_tumor", "chen_jin"), flipped),
        **dict.fromkeys(("chen_zhang", "zhang"), ((), ())),
    }


# one kind a copy


class Plus(BasicTransform):
    """Adds a number."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def __call__(self, **given):
        return {**given, "image": given["image"] + self.number}


def test_the_two_copies_of_a_patch_have_different_kinds_and_the_first_none():
    triple = Triple([slice(0, 2)] * 2, Plus(0), OneOf([Plus(1), Plus(2), Plus(4)]))
    image, segmentation = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int16)
    pairs = []
    for _ in range(600):
        first, *copies = triple(image, segmentation)["image"][:, 0, 0, 0].tolist()
        assert first == 0
        pairs.append(sum(copies))
    assert set(pairs) == {3, 5, 6}  # 1 + 2, 1 + 4, 2 + 4: never one twice
    assert all(stats.binomtest(pairs.count(pair), 600, 1 / 3).pvalue > 1e-3 for pair in (3, 5, 6))


def test_zhangs_copies_are_moved_or_darkened_or_noisy_but_never_two_of_it():
    given = sample((14, 30, 30))
    patch = (14, 20, 20)
    plain = tuple(slice((a - b) // 2, (a + b) // 2) for a, b in zip((14, 30, 30), patch, strict=True))
    seen = set()
    for pipeline in pipeline_of("zhang", patch).pipelines:
        made = pipeline(**copied(given))
        before = given["image"][0][plain]
        moved = not torch.equal(made["segmentation"][0], given["segmentation"][0][plain])
        apart = made["image"][0] - before
        kind = (
            "moved"
            if moved
            else "noisy"
            if abs(np.corrcoef(before.flatten(), apart.flatten())[0, 1]) < 0.1
            else "darker"
        )
        seen.add(kind)
    assert seen == {"moved", "noisy", "darker"}


def test_without_copies_each_patch_has_one_kind_and_all_come_as_often():
    one_of = OneOf([Plus(1), Plus(2), Plus(4)])
    made = [one_of(image=torch.zeros(1))["image"].item() for _ in range(600)]
    assert all(stats.binomtest(made.count(number), 600, 1 / 3).pvalue > 1e-3 for number in (1, 2, 4))


# where voxels come from


def steps(**kinds):
    return [Step(kind, 1, given) for kind, given in kinds.items()]


def assert_read_from(transform, given, places):
    """The image is scipy's linear interpolation at these places (axes, *patch), labels are those with most of it."""
    expected = ndimage.map_coordinates(given["image"][0].numpy(), places, order=1, mode="constant")
    masks = [given["segmentation"][0].numpy() == label for label in range(4)]
    scores = np.stack([ndimage.map_coordinates(mask.astype(float), places, order=1, mode="constant") for mask in masks])
    untied = np.diff(np.sort(scores, 0)[-2:], axis=0)[0] > 2e-3  # nnU-Net's scores are in half precision
    inside = np.all([(p > 0.5) & (p < edge - 1.5) for p, edge in zip(places, given["image"].shape[1:], strict=True)], 0)
    assert inside.mean() > 0.5
    for one in (transform, accelerate(set_pipeline.ComposeTransforms([transform]))):
        np.random.seed(2)
        made = one(**copied(given))
        difference = np.abs(made["image"][0].numpy() - expected)[inside]
        assert difference.max() < 2e-4 * expected.std()
        assert np.array_equal(made["segmentation"][0].numpy()[inside & untied], scores.argmax(0)[inside & untied])


def grid_of(patch):
    """Voxels of a patch from its middle: (axes, *patch)."""
    return np.stack(np.meshgrid(*[np.arange(edge) - (edge - 1) / 2 for edge in patch], indexing="ij"))


def middle_of(shape):
    return ((np.array(shape) - 1) / 2).reshape(-1, *[1] * len(shape))


def test_a_turn_in_plane_is_scipys_rotation_of_every_slice():
    shape, patch = (9, 40, 44), (9, 30, 34)
    given = sample(shape)
    transform = SetSpatial(patch, steps(rotation={"degrees": [25, 25], "about": ["z"]}))
    made = transform(**copied(given))["image"][0, :, 4:-4, 4:-4].numpy()
    turned = [
        ndimage.rotate(given["image"][0].numpy(), sign * 25, axes=(1, 2), reshape=False, order=1)[:, 9:-9, 9:-9]
        for sign in (-1, 1)
    ]
    assert min(np.abs(made - candidate).max() for candidate in turned) < 1e-4
    assert max(np.abs(made - candidate).max() for candidate in turned) > 0.1


def test_a_zoom_reads_a_smaller_part_and_a_crop_one_of_its_share():
    given, patch = sample((12, 40, 44)), (12, 30, 34)
    middle, grid = middle_of((12, 40, 44)), grid_of(patch)
    zoomed = grid / np.reshape([1, 1.25, 1.25], (3, 1, 1, 1))
    zoom = {"factor": [1.25, 1.25], "axes": ["y", "x"]}
    assert_read_from(SetSpatial(patch, steps(zoom=zoom)), given, middle + zoomed)
    crop = {"share": [0.8, 0.8], "axes": ["y", "x"]}
    assert_read_from(SetSpatial(patch, steps(crop=crop)), given, middle + zoomed)
    flat = {key: value[:, 5] for key, value in given.items()}
    places = middle_of((40, 44)) + grid_of((30, 34)) * 1.2
    assert_read_from(SetSpatial((30, 34), steps(crop={"share": [1.2, 1.2], "axes": ["z", "y", "x"]})), flat, places)


def test_a_turned_crop_is_turned_where_it_lies():
    given, patch = sample((14, 60, 60)), (14, 36, 40)
    made = steps(
        rotation={"degrees": [12, 12], "about": ["z", "y"]},
        crop={"share": [0.7, 0.9], "axes": ["z", "y", "x"], "each_axis": True, "anywhere": True},
    )
    transform = SetSpatial(patch, made)
    np.random.seed(2)
    drawn = transform.draw(given["image"])
    assert (drawn["shift"] != 0).all()
    column = (3, 1, 1, 1)
    turn = rotation_matrix({"z": 12, "y": 12}, 3)
    inner = grid_of(patch) * drawn["shares"].reshape(column) + drawn["shift"].reshape(column)
    assert_read_from(transform, given, middle_of((14, 60, 60)) + np.tensordot(turn, inner, 1))


def test_an_elastic_deformation_moves_voxels_by_blurred_noise_times_the_magnitude():
    given, patch = sample((30, 40, 44)), (20, 30, 34)
    transform = SetSpatial(patch, steps(elastic={"sigma_voxels": [4, 4], "magnitude_voxels": [150, 150]}))
    np.random.seed(2)
    moved = transform.draw(given["image"])["elastic_offsets"].numpy()
    np.random.seed(2)
    np.random.uniform(size=3)  # whether, sigma, magnitude
    noise = 2 * np.random.default_rng(np.random.randint(2**31)).random((3, *patch), dtype=np.float32) - 1
    expected = np.stack([150 * ndimage.gaussian_filter(axis, 4, mode="mirror", truncate=3) for axis in noise])
    assert np.abs(moved - expected).max() < 1e-3
    assert_read_from(transform, given, middle_of((30, 40, 44)) + grid_of(patch) + moved)


@pytest.mark.parametrize(("shape", "patch"), [((30, 40, 44), (20, 28, 32)), ((52, 56), (34, 38))])
def test_a_deformed_patch_is_turned_and_scaled_where_it_lies(shape, patch):
    given = sample(shape)
    made = steps(
        rotation={"degrees": [12, 12], "about": ["z", "y"]},
        crop={"share": [0.7, 0.9], "axes": ["z", "y", "x"], "each_axis": True, "anywhere": True},
        elastic={"sigma_voxels": [4, 4], "magnitude_voxels": [60, 60]},
    )
    transform = SetSpatial(patch, made)
    np.random.seed(2)
    drawn = transform.draw(given["image"])
    moved = drawn["elastic_offsets"].numpy()
    assert moved.std() > 0.3
    column = (-1, *[1] * len(patch))
    turn = rotation_matrix({"z": 12, "y": 12} if len(patch) == 3 else {"z": 12}, len(patch))
    inner = (grid_of(patch) + moved) * drawn["shares"].reshape(column) + drawn["shift"].reshape(column)
    assert_read_from(transform, given, middle_of(shape) + np.tensordot(turn, inner, 1))


def test_voxels_are_displaced_by_as_much_as_the_formula_of_blurred_noise_says():
    transform = SetSpatial((64, 64, 64), steps(elastic={"sigma_voxels": [3, 3], "magnitude_voxels": [200, 200]}))
    moved = np.stack([transform.draw(torch.empty(1, 64, 64, 64))["elastic_offsets"] for _ in range(2)])
    inner = moved[..., 9:-9, 9:-9, 9:-9]
    assert inner.std() == pytest.approx(200 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 3) ** 1.5, rel=0.08)
    assert abs(inner.mean()) < 0.15


@pytest.mark.parametrize("shape", [(20, 24, 26), (3, 5, 40), (1, 1, 7), (30, 2)])
@pytest.mark.parametrize("sigma", [0.8, 3.3, 5])
def test_noise_is_blurred_the_same_with_and_without_compiled_loops(shape, sigma):
    noise = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    assert np.abs(smooth_in_loops(noise, sigma) - smooth(noise, sigma)).max() < 1e-6


@pytest.mark.parametrize("patch", [(12, 24, 24), (24, 28)])
@pytest.mark.parametrize("name", NAMED)
def test_all_that_a_set_may_read_lies_in_its_margin_and_the_margin_is_not_wide(name, patch):
    chosen = load_set(name)
    whole = np.array(set_pipeline.size_with_margin(chosen, patch))
    outside = []
    for drawn_from in chosen.alternatives.values():
        spatial = SetSpatial(patch, drawn_from)
        for _ in range(300):
            drawn = spatial.draw(torch.empty(1, *whole))
            affine = np.eye(len(patch)) if drawn["affine"] is None else drawn["affine"]
            moved = 0 if drawn["elastic_offsets"] is None else drawn["elastic_offsets"].numpy()
            places = np.tensordot(affine, grid_of(patch) + moved, 1)
            places += (np.array(drawn["center_location_in_pixels"]) - whole / 2).reshape(-1, *[1] * len(patch))
            room = ((whole - 1) / 2 + 0.5).reshape(-1, *[1] * len(patch))
            outside.append((np.abs(places) > room).mean())
    assert max(outside) <= (2e-3 if name == "chen_zhang" else 0)
    assert (whole >= patch).all()
    widest = {"zhang": 1.35, "chen_jin": 1.3}.get(name, 1.55)
    assert name == "chen_zhang" or (whole <= np.ceil(widest * np.array(patch))).all()
    assert name == "chen_zhang" or len(patch) == 2 or whole[0] == patch[0]


# what becomes of intensities


def test_brightness_and_contrast_are_the_formula_in_double_precision():
    image = sample((6, 10, 12))["image"] * 3 + 1
    transform = BrightnessAndContrast([1.3, 1.3], [0.7, 0.7])
    low, high = image.double().min().item(), image.double().max().item()
    unit = np.clip(1.3 * (image[0].double().numpy() - low) / (high - low), 0, 1)
    means = unit.mean((1, 2), keepdims=True)
    expected = low + (high - low) * np.clip(0.7 * unit + 0.3 * means, 0, 1)
    made = transform(image=image.clone())["image"][0].numpy()
    assert np.abs(made - expected).max() < 1e-5
    assert made.min() >= low - 1e-5
    flat = torch.full((1, 3, 4), 2.0)
    assert torch.equal(transform(image=flat.clone())["image"], flat)


def test_noise_has_the_drawn_deviation_and_every_slice_its_own():
    (noise,) = (step for step in steps_of(pipeline_of("zhang")) if type(step).__name__ == "GaussianNoiseTransform")
    noise.noise_variance = 0.25
    made = noise(image=torch.zeros(1, 20, 40, 40))["image"][0].numpy()
    assert made.std(axis=(1, 2)) == pytest.approx(np.full(20, 0.25), rel=0.1)
    assert np.abs(np.corrcoef(made.reshape(20, -1)) - np.eye(20)).max() < 0.12


def test_clipping_keeps_what_lies_within():
    made = Clip(-1, 1)(image=torch.tensor([[-3.0, -1, 0.5, 1.01]]))["image"]
    assert made.tolist() == [[-1, -1, 0.5, 1]]


def test_what_is_done_to_lesions_touches_no_other_voxel():
    given = sample((8, 20, 22))
    lesion = torch.isin(given["segmentation"][0], torch.tensor([2, 3]))
    assert 0.02 < lesion.float().mean() < 0.7
    made = Within((2, 3), Plus(5))(**copied(given))
    assert torch.equal(made["image"][0][~lesion], given["image"][0][~lesion])
    assert torch.equal(made["image"][0][lesion], given["image"][0][lesion] + 5)
    single = {"image": torch.ones(1, 2, 2), "segmentation": torch.tensor([[[0, 2], [0, 0]]], dtype=torch.int16)}
    assert torch.equal(Within((2,), Plus(5))(**copied(single))["image"], single["image"])


@pytest.mark.parametrize("labels", [LABELS, REGIONS])
def test_chen_and_zhangs_lesions_alone_differ_from_what_is_made_where_the_dataset_has_no_lesions(labels):
    given = sample((24, 34, 36))
    results = []
    for names in (labels, {"background": 0, "kidney": 1}):
        np.random.seed(5)
        torch.manual_seed(5)
        results.append(pipeline_of("chen_zhang", labels=names)(**copied(given)))
    with_lesions, without = results
    lesion = torch.isin(with_lesions["segmentation"][0], torch.tensor([2, 3]))
    changed = with_lesions["image"][0] != without["image"][0]
    assert not (changed & ~lesion).any()
    assert changed[lesion].float().mean() > 0.9
    assert with_lesions["image"].abs().max() <= 1


# with and without compiled loops


@pytest.mark.parametrize("patch", [(12, 24, 24), (24, 28)])
@pytest.mark.parametrize("name", NAMED)
def test_a_set_makes_the_same_with_our_loops_as_with_nnunets_transforms(name, patch):
    stock = pipeline_of(name, patch)
    ours = accelerate(stock)
    given = sample(tuple(set_pipeline.size_with_margin(load_set(name), patch)))
    for seed in range(3):
        made = []
        for pipeline in (stock, pickle.loads(pickle.dumps(ours))):
            np.random.seed(seed)
            torch.manual_seed(seed)
            made.append((pipeline(**copied(given)), np.random.uniform()))
        (expected, after), (found, after_ours) = made
        assert after == after_ours
        assert found["image"].shape == (1, *patch)
        assert (found["image"] - expected["image"]).abs().max() <= 3e-4 * expected["image"].std()
        assert (found["segmentation"] != expected["segmentation"]).float().mean() <= 2e-3  # one of 600 voxels
        assert found["segmentation"].min() >= 0


def test_every_step_of_a_set_that_costs_is_replaced(caplog):
    for name in NAMED:
        ours = accelerate(pipeline_of(name))
        pipelines = ours.pipelines if isinstance(ours, OneOf) else [ours]
        assert all(isinstance(pipeline, Accelerated) and pipeline.spatial is not None for pipeline in pipelines)
    assert not caplog.messages


# what is refused

GOOD = {
    "summary": "one line",
    "source": ["ours"],
    "mirror": [],
    "steps": [{"kind": "rotation", "probability": 0.3, "degrees": [-30, 30], "about": ["z"]}],
}


def written(tmp_path, content):
    file = tmp_path / "mine.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def test_a_set_of_ones_own_is_one_file(tmp_path):
    made = load_set(written(tmp_path, GOOD))
    assert made.name == "mine"
    assert made.alternatives == {"all": (Step("rotation", 0.3, {"degrees": [-30, 30], "about": ["z"]}),)}


def step(**given):
    return {**GOOD, "steps": [given]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", r"mine.json: not a JSON file"),
        ([], r"mine.json: a set is a JSON object, not a list"),
        ({**GOOD, "stepps": []}, r"has unknown stepps. Allowed: summary, source, differs, mirror, steps"),
        ({key: value for key, value in GOOD.items() if key != "source"}, r"lacks source"),
        ({**GOOD, "source": []}, r"source is \[\], but must be a list of texts"),
        ({**GOOD, "mirror": [1]}, r"mirror is \[1\], but must be a list of z, y, x"),
        ({**GOOD, "steps": 3}, r"steps is 3, but must be a list of steps"),
        (step(kind="wobble"), r"mine.json, all, step 1: there is no kind 'wobble'. Allowed: rotation, zoom"),
        ({**GOOD, "steps": ["clip"]}, r"step 1: there is no kind None"),
        (step(kind="clip", range=[0, 1]), r"step 1 \(clip\): lacks probability"),
        (step(kind="clip", probability=0, range=[0, 1]), r"probability is 0, but must be a number above 0, at most 1"),
        (step(kind="clip", probability=1, range=[1, 0]), r"range is \[1, 0\], but must be a range: \[lowest"),
        (step(kind="clip", probability=1, range=[0, 1], low=0), r"has unknown low. Allowed: probability, range"),
        (step(kind="gamma", probability=1, exponent=[0, 1]), r"must be a range of positive numbers"),
        (step(kind="gamma", probability=1, exponent=[1, 2], labels=["a", 3]), r"a list of names of labels or regions"),
        (step(kind="noise", probability=1, sd=[-1, 1]), r"must be a range from 0 on"),
        (step(kind="noise", probability=1), r"step 1 \(noise\): say either sd or variance"),
        (step(kind="noise", probability=1, sd=[0, 1], variance=[0, 1]), r"say either sd or variance"),
        (step(kind="rotation", probability=1, degrees=[0, 1], about=["z", "z"]), r"about is \['z', 'z'\]"),
        ({**GOOD, "steps": GOOD["steps"] * 2}, r"step 2 \(rotation\): rotation, zoom, .* come first"),
        (
            {**GOOD, "steps": [{"kind": "clip", "probability": 1, "range": [0, 1]}, *GOOD["steps"]]},
            r"step 2 \(rotation\): .* come first",
        ),
        (
            {**{key: value for key, value in GOOD.items() if key != "steps"}, "one_of": {"a": []}},
            r"one_of is {'a': \[\]}, but must be an object of at least two names",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_no_set_is_refused_by_what_is_wrong_with_it(tmp_path, content, told):
    with pytest.raises(TrainingError, match=told):
        load_set(written(tmp_path, content))


def test_a_name_that_is_no_set_is_told_with_those_that_are():
    with pytest.raises(
        TrainingError, match=r"there is no augmentation 'zang'. Known: .*nnunet, zhang; or give a .json"
    ):
        load_set("zang")


@pytest.mark.parametrize("name", NAMED)
def test_a_set_says_where_its_numbers_come_from_and_what_is_otherwise(name):
    chosen = load_set(name)
    assert "\n" not in chosen.summary
    assert chosen.differs
    assert any("@" in source for source in chosen.source) or name == "chen_jin"


def test_every_kind_is_made_by_something():
    assert set(KINDS) == {*set_pipeline.SPATIAL, *set_pipeline.MAKERS}

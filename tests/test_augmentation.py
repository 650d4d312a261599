"""Our transforms against nnU-Net's own from the same random state: equal, and the random state afterwards too."""

import copy
import logging
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.nnunet.random_binary_operator import ApplyRandomBinaryOperatorTransform
from batchgeneratorsv2.transforms.nnunet.remove_connected_components import (
    RemoveRandomConnectedComponentFromOneHotEncodingTransform,
)
from batchgeneratorsv2.transforms.nnunet.seg_to_onehot import MoveSegAsOneHotToDataTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from scipy import ndimage
from skimage.morphology import ball

from nnunet_kits import augmentation
from nnunet_kits.augmentation import filter_kernels, pipeline
from nnunet_kits.augmentation.masks import OPERATORS, change
from nnunet_kits.augmentation.pipeline import STOCK_VARIABLE, Accelerated, accelerate

CLASSES = [1, 2, 3]
REGIONS = [(1, 2, 3), (2, 3), 2]
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def unwarned():
    """Forget what was logged once."""
    pipeline.warn_once.cache_clear()


def sample(seed, shape, channels=1, maps=1, labels=4, kind=torch.int16, noise=False):
    """An image (channels, *shape) and label maps with -1, the padding, and ``labels`` labels."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((channels, *shape)).astype(np.float32)
    if noise:
        chosen = rng.integers(-1, labels, (maps, *shape))
    else:
        smooth = ndimage.gaussian_filter(rng.standard_normal((maps, *shape)), [0] + [2] * len(shape))
        chosen = np.clip(np.round(smooth / max(smooth.std(), 1e-6) * 1.5), -1, labels - 1)
    return {"image": torch.from_numpy(image), "segmentation": torch.from_numpy(chosen).to(kind)}


def run(transform, given, seed):
    """What a transform makes of a copy, and what the random generators say next."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    made = transform(**{key: value.clone() for key, value in given.items()})
    return made, (np.random.uniform(), torch.rand(1).item())


def assert_equal(stock, given, seed, image=1e-5, labels=0.0):
    """nnU-Net's transform and ours make the same.

    Args:
        stock: nnU-Net's transform or pipeline.
        given: what goes in.
        seed: of all draws.
        image: largest difference, in standard deviations of the image that comes out.
        labels: largest share of other labels.

    Returns:
        What ours made.
    """
    steps = stock.transforms if isinstance(stock, ComposeTransforms) else [stock]
    ours = accelerate(copy.deepcopy(ComposeTransforms(steps)))  # some keep a list that they shuffle
    (expected, after), (made, after_ours) = run(stock, given, seed), run(ours, given, seed)
    assert after == after_ours
    assert made["image"].shape == expected["image"].shape
    assert made["image"].dtype == expected["image"].dtype
    spread = max(expected["image"].std().item(), 1e-6)
    assert (made["image"] - expected["image"]).abs().max().item() <= image * spread
    maps = [part["segmentation"] for part in (expected, made)]
    for theirs, own in zip(*(part if isinstance(part, list) else [part] for part in maps), strict=True):
        assert own.shape == theirs.shape
        assert own.dtype == theirs.dtype
        assert (own != theirs).float().mean().item() <= labels
    return made


# spatial


def edges(lowest, highest):
    return st.integers(2, 3).flatmap(lambda n: st.tuples(*[st.integers(lowest, highest)] * n))


@st.composite
def spatial_cases(draw):
    shape = draw(edges(1, 26))
    patch = draw(st.tuples(*[st.integers(2, 20)] * len(shape)))
    options = {
        "patch_center_dist_from_border": draw(st.integers(0, 8)),
        "random_crop": draw(st.booleans()),
        "p_elastic_deform": draw(st.sampled_from([0, 0, 0.6])),
        "elastic_deform_magnitude": (0.5, 3),
        "p_rotation": draw(st.sampled_from([0, 0.7])),
        "rotation": (-3, 3),
        "p_rot_per_axis": draw(st.sampled_from([1, 0.5])),
        "p_scaling": draw(st.sampled_from([0, 0.7])),
        "scaling": (0.5, 1.6),
        "p_synchronize_scaling_across_axes": draw(st.sampled_from([0, 1])),
        "bg_style_seg_sampling": draw(st.booleans()),
        "mode_seg": draw(st.sampled_from(["bilinear", "bilinear", "nearest"])),
        "border_mode_seg": draw(st.sampled_from(["constant", "zeros"])),
        "padding_value_seg": -1,
        "padding_mode_image": draw(st.sampled_from(["constant", "zeros"])),
        "padding_value_image": 1.5,
        "seg_tiebreak": draw(st.sampled_from(["nearest", "lowest", "highest"])),
    }
    content = {
        "channels": draw(st.integers(1, 3)),
        "maps": draw(st.integers(1, 2)),
        "labels": draw(st.integers(1, 5)),
        "kind": draw(st.sampled_from([torch.int16, torch.int8])),
    }
    return SpatialTransform(patch, **options), sample(draw(SEEDS), shape, **content)


@settings(deadline=None, max_examples=60)
@given(spatial_cases(), SEEDS)
def test_rotated_scaled_deformed_and_cut_patches_are_nnunets(case, seed):
    assert_equal(*case, seed, 1e-4, 1e-3)  # of a patch of a few hundred voxels, one may lie within rounding of a tie


@pytest.mark.parametrize("tie", ["nearest", "lowest", "highest"])
@pytest.mark.parametrize("shape", [(18, 20, 22), (20, 24)])
def test_labels_are_nnunets_where_every_voxel_lies_halfway_between_others(shape, tie):
    transform = SpatialTransform(
        *(tuple(edge + 3 for edge in shape), 0, False),  # odd in even: the middles of the two lie half a voxel apart
        **{"p_scaling": 1, "scaling": 1, "padding_value_seg": -1, "border_mode_seg": "constant"},
        seg_tiebreak=tie,
    )
    assert_equal(transform, sample(0, shape, maps=2, noise=True), 0)


def test_a_large_patch_differs_by_rounding_and_its_labels_at_ties_only():
    shape = (80, 90, 100)
    transform = SpatialTransform(
        *((64, 64, 64), 0, False),
        **{"p_rotation": 1, "rotation": (-0.5, 0.5), "p_scaling": 1, "scaling": (0.7, 1.4)},
        **{"border_mode_seg": "constant", "padding_value_seg": -1},
    )
    for seed in range(3):
        made = assert_equal(transform, sample(seed, shape, noise=seed == 0), seed, 1e-4, 1e-4)
        assert len(made["segmentation"].unique()) > 3


# filters and intensities


@settings(deadline=None, max_examples=25)
@given(edges(12, 20), st.integers(1, 3), st.floats(0.3, 2), st.booleans(), st.booleans(), SEEDS)
def test_blurred_images_are_nnunets(shape, channels, sigma, synchronize_channels, synchronize_axes, seed):
    transform = GaussianBlurTransform(
        (0.2, sigma), synchronize_channels, synchronize_axes, 1 if synchronize_channels else 0.7
    )
    assert_equal(transform, sample(seed, shape, channels), seed)


def test_a_blur_wider_than_the_image_is_nnunets_too():
    with pytest.raises(RuntimeError, match="Padding size should be less"):
        accelerate(ComposeTransforms([GaussianBlurTransform(3)]))(**sample(0, (4, 20)))


@settings(deadline=None, max_examples=25)
@given(edges(3, 20), st.integers(1, 3), st.booleans(), st.sampled_from([None, (0,)]), SEEDS)
def test_images_of_low_resolution_are_nnunets(shape, channels, synchronize_axes, ignored, seed):
    transform = SimulateLowResolutionTransform((0.4, 1), False, synchronize_axes, ignored, p_per_channel=0.7)
    assert_equal(transform, sample(seed, shape, channels), seed)


@settings(deadline=None, max_examples=40)
@given(
    edges(2, 16),
    st.integers(1, 3),
    st.sampled_from(
        [
            ContrastTransform(BGContrast((0.75, 1.25)), True, False, 0.7),
            ContrastTransform((0.5, 1.5), False, True, 0.7),
            GammaTransform(BGContrast((0.7, 1.5)), 0.5, False, 0.7, 0.5),
            GammaTransform((0.7, 1.5), 1, True, 1, 1),
        ]
    ),
    SEEDS,
)
def test_contrast_and_gamma_are_nnunets(shape, channels, transform, seed):
    case = sample(seed, shape, channels)
    case["image"] = case["image"] * 3 + 5
    assert_equal(transform, case, seed)


@pytest.mark.parametrize("exponent", [0.5, 0.7, 1, 1.3, 2])
def test_the_power_of_gamma_is_numpys_in_double_precision(exponent):
    rest = np.random.default_rng(0).random(10_000)
    values = np.concatenate([[0, 1, 1e-30, 1e-7, 0.5, np.nextafter(np.float32(0.5), 0)], rest]).astype(np.float32)
    found = (2 - 5 * values).astype(np.float32)  # from 2 down to -3, to be turned round
    values = (-found.astype(np.float64) + 2) / 5
    filter_kernels.unit_power(found, np.float32(-1), np.float32(-2), np.float32(5), np.float32(exponent))
    assert found == pytest.approx(values ** np.float32(exponent), abs=5e-7)
    assert found[0] < 1e-19
    odd = np.array([np.nan, np.inf, 0.25], np.float32)
    filter_kernels.unit_power(odd, np.float32(1), np.float32(0), np.float32(1), np.float32(exponent))
    assert np.isnan(odd).tolist() == [True, True, False]


def test_an_image_of_one_value_stays_one_value():
    for transform in (ContrastTransform(0.8, True, False), GammaTransform(0.8, 1, False, 1, 1)):
        case = {"image": torch.full((1, 5, 6), 2.5), "segmentation": torch.zeros(1, 5, 6, dtype=torch.int16)}
        assert_equal(transform, case, 0)


# the cascade's channels


def with_masks(seed, shape):
    """One image channel and three disjoint masks, touching the border or not."""
    labels = sample(seed, shape)["segmentation"][0]
    return {
        "image": torch.stack([torch.zeros(shape), *((labels == label).float() for label in CLASSES)]),
        "segmentation": torch.zeros((1, *shape), dtype=torch.int16),
    }


@settings(deadline=None, max_examples=30)
@given(edges(3, 24), st.sampled_from([(1, 8), (0.4, 1.5), 2]), SEEDS)
def test_dilated_eroded_opened_and_closed_masks_are_nnunets(shape, size, seed):
    transform = ApplyRandomBinaryOperatorTransform([-3, -2, -1], strel_size=size, p_per_label=0.8)
    assert_equal(transform, with_masks(seed, shape), seed, 0.0)


@pytest.mark.parametrize("radius", [1, 3, 5])
def test_operators_are_scipys_away_from_the_border(radius):
    rng = np.random.default_rng(radius)
    mask = np.zeros((45, 50, 140), bool)
    mask[15:30, 15:35, 20:120] = ndimage.gaussian_filter(rng.standard_normal((15, 20, 100)), 1) > 0
    names = ("dilation", "erosion", "opening", "closing")
    for name, (stock, operator) in zip(
        names, sorted(OPERATORS.items(), key=lambda item: names_of(item[0])), strict=True
    ):
        assert name in stock.__name__
        volumes = mask[None].astype(np.float32)
        change(volumes, 0, [], operator, ball(radius).astype(bool))
        assert np.array_equal(volumes[0], getattr(ndimage, f"binary_{name}")(mask, ball(radius)))


def names_of(operator):
    return ["dilation", "erosion", "opening", "closing"].index(operator.__name__.split("_")[1])


@settings(deadline=None, max_examples=30)
@given(edges(3, 24), st.sampled_from([0, 0.6]), st.sampled_from([0.15, 0.01]), SEEDS)
def test_masks_with_a_component_removed_are_nnunets(shape, fill, most, seed):
    transform = RemoveRandomConnectedComponentFromOneHotEncodingTransform([-3, -2, -1], fill, most, 0.8)
    assert_equal(transform, with_masks(seed, shape), seed, 0.0)


@pytest.mark.parametrize("removed", [True, False])
def test_the_previous_stage_becomes_the_same_channels(removed):
    transform = MoveSegAsOneHotToDataTransform(1, CLASSES, removed)
    made = assert_equal(transform, sample(0, (9, 10, 11), 2, maps=2), 0, 0.0)
    assert len(made["image"]) == 5
    assert len(made["segmentation"]) == (1 if removed else 2)


# targets


@settings(deadline=None, max_examples=30)
@given(
    edges(3, 21),
    st.sampled_from([None, REGIONS, [*REGIONS, 4], [3, (0, 2)]]),
    st.sampled_from([None, [1, 0.5, 0.25], [[1] * 3, [1, 0.5, 0.5], [0.5, 0.25, 0.25]]]),
    st.sampled_from([torch.int16, torch.int8, torch.int32]),
    SEEDS,
)
def test_regions_at_every_resolution_are_nnunets(shape, regions, scales, kind, seed):
    steps = [RemoveLabelTransform(-1, 0)]
    if regions:
        steps.append(ConvertSegmentationToRegionsTransform(regions))
    if scales:
        steps.append(
            DownsampleSegForDSTransform([s if isinstance(s, float | int) else s[: len(shape)] for s in scales])
        )
    assert_equal(ComposeTransforms(steps), sample(seed, shape, maps=2, labels=6, kind=kind), seed)


# pipelines


def training_transforms(dimensions, dummy=False, form="classes", cascade=False, share=None):
    """nnU-Net's training pipeline; with ``share``, that of every random step."""
    patch = {2: (40, 36), 3: (24, 30, 28)}[dimensions]
    made = nnUNetTrainer.get_training_transforms(
        *(patch, (-0.5, 0.5), [[1] * dimensions, [0.5] * dimensions, [0.25] * dimensions], tuple(range(dimensions))),
        dummy,
        use_mask_for_norm=[form == "ignore"],
        is_cascaded=cascade,
        foreground_labels=CLASSES,
        regions=None if form == "classes" else REGIONS,
        ignore_label=4 if form == "ignore" else None,
    )
    for step in made.transforms if share else []:
        if type(step) is RandomTransform:
            step.apply_probability = share
        elif type(step) is SpatialTransform:
            step.p_rotation = step.p_scaling = share
    return made


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("form", ["classes", "regions", "ignore"])
@pytest.mark.parametrize(("dimensions", "dummy"), [(2, False), (3, True), (3, False)])
def test_nnunets_training_pipeline_makes_the_same_with_ours_in_it(dimensions, dummy, form, cascade):
    shape = {2: (60, 56), 3: (24 if dummy else 38, 48, 44)}[dimensions]
    stock = training_transforms(dimensions, dummy, form, cascade, share=0.5)
    for seed in range(4):
        assert_equal(stock, sample(seed, shape, 1 + seed % 2, 1 + cascade, 5), seed, 3e-4, 1e-4)


def test_every_step_that_costs_is_replaced(caplog):
    for cascade in (False, True):
        for form in ("classes", "regions"):
            ours = accelerate(training_transforms(3, form=form, cascade=cascade))
            steps = [getattr(step, "transform", step) for step in ours.transforms]
            stay = [type(step).__name__ for step in steps if "nnunet_kits" not in type(step).__module__]
            assert stay == ["GaussianNoiseTransform", "MultiplicativeBrightnessTransform", "MirrorTransform"]
    assert not caplog.messages


def test_a_pipeline_works_after_a_journey_to_a_spawned_process():
    ours = accelerate(training_transforms(2, form="regions", share=0.5))
    case = sample(0, (60, 56))
    expected, _ = run(pickle.loads(pickle.dumps(ours)), case, 3)
    again, _ = run(ours, case, 3)
    assert torch.equal(expected["image"], again["image"])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        made = pool.submit(ours, **{key: value.clone() for key, value in case.items()}).result()
    assert [tuple(scale.shape) for scale in made["segmentation"]] == [(3, 40, 36), (3, 20, 18), (3, 10, 9)]


# what is not known


class Unheard(BasicTransform):
    """A transform of tomorrow."""


class Twisted(SpatialTransform):
    """Does something of its own."""


def test_an_unknown_transform_stays_and_is_told_of_once(caplog):
    spatial = SpatialTransform((8, 8), 0, False, padding_mode_image="reflection")
    steps = [
        Unheard(),
        spatial,
        RandomTransform(Unheard(), 0.5),
        RemoveLabelTransform(-1, 0),
        Twisted((8, 8), 0, False),
    ]
    with caplog.at_level(logging.WARNING):
        made = accelerate(ComposeTransforms(steps)).transforms
        accelerate(ComposeTransforms(steps))
    assert made[0] is steps[0]
    assert made[1] is spatial
    assert made[2].transform is steps[2].transform
    assert made[4] is steps[4]
    assert type(made[3]).__module__ == "nnunet_kits.augmentation.targets"
    told = [message.split(",")[0] for message in caplog.messages]
    assert told == ["Unheard", "SpatialTransform", "Twisted"]


def test_without_numba_all_is_nnunets_and_it_is_said_once(monkeypatch, caplog):
    heavy = [name for name in sys.modules if name.startswith("nnunet_kits.augmentation.")]
    for name in heavy:
        if name.rpartition(".")[2] not in ("pipeline", "placement", "loader"):
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(augmentation, name.rpartition(".")[2], raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    stock = training_transforms(3)
    with caplog.at_level(logging.WARNING):
        assert accelerate(stock) is stock
        assert accelerate(stock) is stock
    (told,) = caplog.messages
    assert "numba" in told
    assert "nnU-Net's own transforms are used" in told


@pytest.mark.parametrize(("value", "is_stock"), [("1", True), ("0", False), ("", False)])
def test_an_environment_variable_leaves_all_to_nnunet(value, is_stock, monkeypatch):
    monkeypatch.setenv(STOCK_VARIABLE, value)
    stock = training_transforms(2)
    assert (accelerate(stock) is stock) == is_stock
    assert isinstance(accelerate(stock), Accelerated) != is_stock


def test_what_is_no_pipeline_comes_back_as_it_is(caplog):
    unheard = Unheard()
    with caplog.at_level(logging.WARNING):
        assert accelerate(unheard) is unheard
    assert caplog.messages == ["Unheard is no pipeline known to us: nnU-Net's own transforms are used."]


def test_a_pipeline_with_ours_stays_as_it_is_when_it_is_given_again(caplog):
    once = accelerate(training_transforms(3, form="regions"))
    twice = accelerate(ComposeTransforms(once.transforms))
    assert [type(step) for step in twice.transforms] == [type(step) for step in once.transforms]
    assert not caplog.messages

"""Coarse to fine against nnU-Net's own preprocessing, sliding window and export."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot
from small_models import ByIntensity, model, plans_with, stock_predictor, write_model_folder
from small_plans import REGIONS

from nnunet_kits.errors import InferenceError, TrainingError
from nnunet_kits.geometry import crop, nonzero_box
from nnunet_kits.inference.coarse_to_fine import Settings, predict_array
from nnunet_kits.inference.model import load_model
from nnunet_kits.inference.roi import RoiSettings
from nnunet_kits.inference.stage import image_block, label_block
from nnunet_kits.planning.planner import resampling_of
from nnunet_kits.resampling.grid import model_grid

WHOLE = Settings(mirror=False)
SPACING = (3.0, 1.5, 1.5)


def stock_logits(ours, image, spacing, previous=None):
    """Logits that nnU-Net's own code makes of an image, and of a coarse label map for a cascade; and its properties."""
    properties = {"spacing": list(spacing)}
    given = None if previous is None else previous[None].astype(np.float32)
    data, seg, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        image[None].astype(np.float32), given, properties, ours.plans, ours.configuration, ours.dataset_json
    )
    if previous is not None:
        data = np.vstack([data, convert_labelmap_to_one_hot(seg[0], ours.labels.foreground_labels, data.dtype)])
    return stock_predictor(ours).predict_logits_from_preprocessed_data(torch.from_numpy(data)), properties


def stock_export(ours, logits, properties):
    """The label map that nnU-Net's own code makes of logits."""
    return convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, ours.plans, ours.configuration, ours.labels, properties, num_threads_torch=1
    )


def stock_labels(ours, image, spacing, previous=None):
    """The label map that nnU-Net's own code makes of an image."""
    return stock_export(ours, *stock_logits(ours, image, spacing, previous))


def stock_margins(ours, logits, properties):
    """By how much nnU-Net's best class leads, as a share of the largest logit; infinite outside what it predicts."""
    axes = ours.plans.transpose_forward
    back = ours.configuration.resampling_fn_probabilities(
        logits,
        properties["shape_after_cropping_and_before_resampling"],
        ours.configuration.spacing,
        [properties["spacing"][axis] for axis in axes],
    )
    second, first = np.sort(np.asarray(back, np.float32), 0)[-2:]
    margins = np.full(properties["shape_before_cropping"], np.inf)
    margins[tuple(slice(*edges) for edges in properties["bbox_used_for_cropping"])] = first - second
    return margins.transpose(ours.plans.transpose_backward) / np.abs(back).max()


def abdomen(shape=(24, 48, 56), centres=((12, 24, 14), (12, 24, 42)), radius_mm=12.0, lesion=True):
    """Water with kidneys of 100 HU, each with a tumour of 200 HU: values that ByIntensity reads."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    image = np.full(shape, 5.0, np.float32)
    for centre in centres:
        squared = sum(((g - c) * s) ** 2 for g, c, s in zip((z, y, x), centre, SPACING, strict=True))
        image[squared < radius_mm**2] = 100
        if lesion:
            image[squared < (radius_mm / 2) ** 2] = 200
    return image


def pair(**changes):
    plans = plans_with(**changes)
    return model(ByIntensity(), plans, "3d_lowres"), model(ByIntensity(), plans, "3d_fullres")


def differing(a, b):
    return np.count_nonzero(a != b) / a.size


@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    shape=st.tuples(*[st.integers(9, 26)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.7, 1.0, 1.9, 3.0, 6.5])] * 3),
    target=st.tuples(*[st.sampled_from([1.1, 2.0, 3.3])] * 3),
    transpose=st.permutations([0, 1, 2]),
    seed=st.integers(0, 99),
)
def test_the_whole_volume_gives_the_label_map_of_stock_nnunet(shape, spacing, target, transpose, seed):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(4, 4, 3, padding=1)
    ).eval()
    for parameter in network[2].parameters():  # stock sums in half precision, and at the corners of a window, where
        parameter.data.mul_(100)  # its weight is least, that cuts logits to whole numbers
    ours = model(network, plans_with(target, (8, 12, 10), transpose), mirror_axes=(0, 2))
    image = np.random.default_rng(seed).normal(100, 120, shape).astype(np.float32)
    image[:2] = 0  # is cropped away
    found = predict_array(image, spacing, [ours], settings=Settings(mirror=True)).labels
    logits, properties = stock_logits(ours, image, spacing)
    different = found != stock_export(ours, logits, properties)
    assert different.mean() <= 1e-2
    assert (stock_margins(ours, logits, properties)[different] <= 2e-2).all()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(6, 18)] * 3),
    spacing=st.tuples(*[st.sampled_from([1.0, 2.0, 3.0, 6.5])] * 3),
    target=st.tuples(*[st.sampled_from([1.0, 2.0, 3.3])] * 3),
    transpose=st.permutations([0, 1, 2]),
    seed=st.integers(0, 99),
)
def test_a_box_holds_the_image_and_the_coarse_labels_that_stocks_preprocessing_of_the_whole_has_there(
    shape, spacing, target, transpose, seed
):
    random = np.random.default_rng(seed)
    fine = model(ByIntensity(), plans_with(target, transpose=transpose), "3d_cascade_fullres")
    image = random.choice([-150, 50, 450], shape).astype(np.int16)  # every plane has the whole range
    coarse = random.integers(0, 4, shape, np.uint8)
    image[0] = 0  # is cropped away
    expected, seg, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        *(image[None].astype(np.float32), coarse[None].astype(np.float32), {"spacing": list(spacing)}),
        *(fine.plans, fine.configuration, fine.dataset_json),
    )
    grid = model_grid(fine.plans.plans, fine.configuration.configuration, nonzero_box(image), shape, spacing)
    z, y, x = (tuple(sorted(random.choice(size + 1, 2, replace=False).tolist())) for size in grid.shape)
    block = image_block(fine, image.transpose(transpose), grid, (z, y, x)).numpy()
    assert np.allclose(block[0], crop(expected[0], (z, y, x)), atol=1e-5)
    labels = label_block(fine, lambda box: crop(coarse.transpose(transpose), box), grid, (z, y, x)).numpy()
    assert np.array_equal(labels, [crop(seg[0], (z, y, x)) == label for label in (1, 2, 3)])


@pytest.mark.parametrize("labels", [None, REGIONS])
def test_boxes_around_the_kidneys_give_the_label_map_of_the_whole(labels):
    heads = {} if labels is None else {"labels": labels}
    plans = plans_with()
    network = ByIntensity() if labels is None else Nested()
    coarse, fine = model(network, plans, "3d_lowres", **heads), model(network, plans, "3d_fullres", **heads)
    image = abdomen()
    found = predict_array(image, SPACING, [fine], coarse, Settings(mirror=False, roi=RoiSettings(margin_mm=6)))
    assert found.labels.any()
    assert sum(np.prod([b - a for a, b in box]) for box in found.boxes) < image.size
    assert np.array_equal(found.labels, predict_array(image, SPACING, [fine], settings=WHOLE).labels)
    assert np.array_equal(found.labels, stock_labels(fine, image, SPACING))


class Nested(torch.nn.Module):
    """Regions by intensity: kidney_and_mass from 50 HU up, mass and tumor from 150."""

    def forward(self, x):
        return torch.cat([x - 0.5, x - 1.5, x - 1.5], 1)


def test_the_second_stage_of_a_cascade_sees_the_coarse_labels_that_stock_shows_it():
    plans = plans_with(spacing=(2.7, 1.9, 1.9))  # no voxel lies halfway between two others
    coarse = model(ByIntensity(), plans, "3d_lowres")
    fine = model(ByIntensity(follow_coarse=True), plans, "3d_cascade_fullres")
    image = abdomen()
    found = predict_array(image, SPACING, [fine], coarse, WHOLE)
    first = stock_labels(coarse, image, SPACING)
    assert differing(found.labels, stock_labels(fine, image, SPACING, first)) < 1e-4


def test_two_kidneys_far_apart_get_a_box_each():
    coarse, fine = pair()
    image = abdomen((24, 48, 160), ((12, 24, 20), (12, 24, 140)))
    found = predict_array(image, SPACING, [fine], coarse, Settings(mirror=False, roi=RoiSettings(margin_mm=3)))
    assert len(found.boxes) == 2
    assert np.array_equal(found.labels, stock_labels(fine, image, SPACING))


class ByPlace(torch.nn.Module):
    """Foreground by intensity, but another label in each corner of a window: what it says depends on the tiling."""

    def forward(self, x):
        z, y, x_ = (torch.linspace(-1, 1, n).reshape([-1 if k == i else 1 for k in range(3)]) for i, n in self.axes(x))
        corner = 3 * z * y + 2 * x_
        foreground = torch.clamp(x[:, :1] - 0.5, -1, 1) * 40
        return torch.cat([-foreground, *(foreground - (corner - k) ** 2 for k in (-1, 0, 1))], 1)

    @staticmethod
    def axes(x):
        return enumerate(x.shape[2:])


@pytest.mark.parametrize("step", [0.5, 0.75])
def test_a_kidney_is_seen_in_the_same_windows_as_in_the_whole_scan(step):
    plans = plans_with(spacing=SPACING)
    coarse, fine = model(ByIntensity(), plans, "3d_lowres"), model(ByPlace(), plans, "3d_fullres")
    image = abdomen((60, 120, 120), ((30, 70, 37),))
    roi = RoiSettings(margin_mm=24.0)  # windows reach so far beyond the kidney on every side
    found = predict_array(image, SPACING, [fine], coarse, Settings(step, mirror=False, roi=roi))
    whole = predict_array(image, SPACING, [fine], settings=Settings(step, mirror=False))
    assert len(np.unique(whole.labels)) == 4
    assert np.prod([stop - start for start, stop in found.boxes[0]]) < image.size / 4
    assert np.array_equal(found.labels, whole.labels)


@pytest.mark.parametrize(
    "centres",
    [((0, 24, 28),), ((23, 0, 55),), ((12, 24, 14),), ((12, 24, 24), (12, 24, 32))],
    ids=["cut by the first slice", "in the last corner", "one kidney", "horseshoe"],
)
def test_kidneys_in_unusual_places_are_found_whole(centres):
    coarse, fine = pair()
    image = abdomen(centres=centres)
    found = predict_array(image, SPACING, [fine], coarse, Settings(mirror=False, roi=RoiSettings(margin_mm=5)))
    assert np.array_equal(found.labels, stock_labels(fine, image, SPACING))


def test_where_a_box_cuts_the_fine_result_boxes_beside_it_follow_until_none_does():
    plans = plans_with()
    network = ByIntensity()
    coarse, fine = model(Timid(), plans, "3d_lowres"), model(network, plans, "3d_fullres")
    image = abdomen((40, 64, 64), ((20, 32, 32),), radius_mm=30.0)
    small = RoiSettings(margin_mm=4, growths=9)
    found = predict_array(image, SPACING, [fine], coarse, Settings(mirror=False, roi=small))
    assert np.array_equal(found.labels, stock_labels(fine, image, SPACING))
    assert found.notes == []
    held = predict_array(image, SPACING, [fine], coarse, Settings(mirror=False, roi=RoiSettings(4, growths=0)))
    assert np.count_nonzero(held.labels) < np.count_nonzero(found.labels)
    assert "touches the side of its box" in held.notes[0]


class Timid(torch.nn.Module):
    """Sees the tumour inside the kidney only."""

    def forward(self, x):
        return torch.cat([1.5 - x, x - 1.5, x - 9, x - 9], 1)


def test_no_kidney_gives_an_empty_map_and_says_so():
    coarse, fine = pair()
    image = np.full((24, 32, 32), 5.0, np.float32)
    found = predict_array(image, SPACING, [fine], coarse, WHOLE)
    assert found.labels.shape == image.shape
    assert not found.labels.any()
    assert found.notes == ["the coarse model found no kidney: the label map is empty"]
    whole = predict_array(image, SPACING, [fine], coarse, Settings(mirror=False, whole_if_empty=True))
    assert whole.boxes == [((0, 24), (0, 32), (0, 32))]


def test_windows_of_air_are_not_run_in_the_coarse_stage():
    plans = plans_with(patch=(8, 8, 8))
    counting = Counting()
    coarse, fine = model(counting, plans, "3d_lowres"), model(ByIntensity(), plans, "3d_fullres")
    image = abdomen((24, 48, 160), ((12, 24, 20),))
    image[:, :, 50:] = -1000
    predict_array(image, SPACING, [fine], coarse, WHOLE)
    with_air = counting.windows
    counting.windows = 0
    image[:, :, 50:] = 5
    predict_array(image, SPACING, [fine], coarse, WHOLE)
    assert with_air < 0.5 * counting.windows


class Counting(ByIntensity):
    windows = 0

    def forward(self, x):
        self.windows += len(x)
        return super().forward(x)


def test_the_probabilities_of_several_models_are_averaged():
    plans = plans_with()
    sure, unsure = ByIntensity(), Constant([0.0, 0.0, 0.0, 1.0])
    image = abdomen()
    one = predict_array(image, SPACING, [model(unsure, plans)], settings=WHOLE).labels
    both = predict_array(image, SPACING, [model(sure, plans), model(unsure, plans)], settings=WHOLE).labels
    logits = -((0.05 - np.arange(4.0)) ** 2)
    mean = np.exp(logits) / np.exp(logits).sum() + np.exp([0, 0, 0, 1]) / np.exp([0, 0, 0, 1]).sum()
    assert (one == 3).all()
    assert both[0, 0, 0] == mean.argmax() == 0


class Constant(torch.nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x):
        return self.logits.reshape(1, -1, 1, 1, 1).expand(len(x), -1, *x.shape[2:])


def test_models_that_do_not_fit_together_are_refused():
    plans = plans_with()
    fine = model(ByIntensity(), plans, "3d_cascade_fullres")
    image = abdomen()
    with pytest.raises(InferenceError, match="second stage of a cascade and needs its first"):
        predict_array(image, SPACING, [fine])
    with pytest.raises(InferenceError, match="have different labels"):
        predict_array(image, SPACING, [model(ByIntensity(), plans), model(Nested(), plans, labels=REGIONS)])
    other = plans_with()
    other["image_reader_writer"] = "SimpleITKIO"
    with pytest.raises(InferenceError, match="different readers"):
        predict_array(image, SPACING, [model(ByIntensity(), plans), model(ByIntensity(), other)])


def test_plans_without_resampling_give_the_label_map_of_stock_on_the_scans_own_voxels():
    plans = plans_with(patch=(16, 24, 24))
    for name in ("3d_lowres", "3d_fullres"):
        for kind in ("data", "seg", "probabilities"):
            plans["configurations"][name].update(
                {f"resampling_fn_{kind}": "no_resampling_hack", f"resampling_fn_{kind}_kwargs": {}}
            )
    coarse, fine = model(ByIntensity(), plans, "3d_lowres"), model(ByIntensity(), plans, "3d_fullres")
    image = abdomen()
    image[:2] = 0  # is cropped away
    expected = stock_labels(fine, image, SPACING)
    assert len(np.unique(expected)) == 3
    assert np.array_equal(predict_array(image, SPACING, [fine], settings=WHOLE).labels, expected)
    assert np.array_equal(predict_array(image, SPACING, [fine, fine], settings=WHOLE).labels, expected)
    boxes = predict_array(image, SPACING, [fine], coarse, Settings(mirror=False, roi=RoiSettings(margin_mm=6)))
    assert np.array_equal(boxes.labels, expected)
    cascade = model(ByIntensity(follow_coarse=True), plans, "3d_cascade_fullres")
    assert np.array_equal(
        predict_array(image, SPACING, [cascade], coarse, WHOLE).labels,
        stock_labels(cascade, image, SPACING, stock_labels(coarse, image, SPACING)),
    )


def test_a_presets_linear_grid_and_nearest_way_back_give_the_label_map_of_stock():
    orders = resampling_of({"data": 1, "seg": 1, "probabilities": 0})
    coarse, fine = pair(spacing=(7.0, 2.1, 1.9), **orders)
    assert orders["resampling_fn_probabilities_kwargs"]["order"] == 0
    image = abdomen()
    expected = stock_labels(fine, image, SPACING)
    assert len(np.unique(expected)) == 3
    assert np.array_equal(predict_array(image, SPACING, [fine], settings=WHOLE).labels, expected)
    boxes = predict_array(image, SPACING, [fine], coarse, Settings(mirror=False, roi=RoiSettings(margin_mm=12)))
    assert np.array_equal(boxes.labels, expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalization_schemes": ["ZScoreNormalization"]}, "normalise with ZScoreNormalization"),
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "resample with resample_torch_fornnunet"),
        ({"resampling_fn_probabilities": "no_resampling_hack"}, "resample with no_resampling_hack"),
    ],
)
def test_plans_of_which_no_part_can_be_made_are_refused(changes, said):
    with pytest.raises(InferenceError, match=said):
        predict_array(abdomen(), SPACING, [model(ByIntensity(), plans_with(**changes))])


def test_a_two_dimensional_model_runs_slice_by_slice():
    plans = plans_with()
    flat = {**plans["configurations"]["3d_fullres"], "patch_size": [16, 16], "spacing": [2.0, 2.0]}
    plans["configurations"]["2d"] = flat
    torch.manual_seed(0)
    ours = model(torch.nn.Conv2d(1, 4, 3, padding=1).eval(), plans, "2d", mirror_axes=(0, 1))
    image = np.random.default_rng(0).normal(100, 100, (7, 30, 36)).astype(np.float32)
    found = predict_array(image, SPACING, [ours], settings=Settings(mirror=True)).labels
    assert differing(found, stock_labels(ours, image, SPACING)) < 2e-3


def test_a_model_with_the_network_that_a_published_trainer_had_before_is_refused_in_one_line(tmp_path):
    folder = write_model_folder(tmp_path, plans_with(), "3d_fullres")  # of ResUNetTrainer
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "trainer_name": "ZhangResUNetTrainer"}, file)
    with pytest.raises(
        TrainingError, match=r"^SharedResUNet: these are the weights of another network .* train again\.$"
    ):
        load_model(folder, torch.device("cpu"))

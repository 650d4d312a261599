"""Where windows lie, and what is made of them: nnU-Net's own positions, and literal loops for every other choice."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from scipy.ndimage import gaussian_filter
from scipy.special import expit, softmax
from small_models import ByIntensity, model, plans_with
from small_plans import REGIONS

from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.stage import run_network
from nnunet_kits.inference.tiling import Tiling, Windows

SIZE = st.integers(1, 60)


@st.composite
def tiled(draw):
    """A tiling, a volume, and a box in it."""
    patch = tuple(draw(st.integers(6, 20)) for _ in range(3))
    shape = tuple(draw(SIZE) for _ in range(3))
    starts = [draw(st.integers(0, size - 1)) for size in shape]
    box = tuple((at, draw(st.integers(at + 1, size))) for at, size in zip(starts, shape, strict=True))
    placement = draw(st.sampled_from(["even", "back"]))
    return Tiling(patch, draw(st.sampled_from([0.3, 0.5, 0.75, 1.0])), placement=placement), shape, box


@given(tiled())
def test_a_box_is_covered_by_windows_of_the_whole_volume(given):
    tiling, shape, box = given
    part = tiling.cover(shape, box)
    of_all = set(tiling.starts(shape))
    seen = np.zeros([max(pair) for pair in zip(shape, tiling.patch_size, strict=True)], bool)
    windows = [tuple(at + first for at, (first, _) in zip(w, part, strict=True)) for w in tiling.starts(shape, part)]
    assert len(set(windows)) == len(windows)
    assert windows == sorted(windows)
    for window in windows:
        assert window in of_all
        seen[tuple(slice(at, at + patch) for at, patch in zip(window, tiling.patch_size, strict=True))] = True
    assert seen[tuple(slice(*rows) for rows in box)].all()
    reached = np.argwhere(seen)
    for (first, stop), low, high, size in zip(part, reached.min(0), reached.max(0) + 1, shape, strict=True):
        assert (first, stop) == (low, min(size, high))


@given(tiled())
def test_no_window_of_the_part_could_be_left_out(given):
    tiling, shape, box = given
    part = tiling.cover(shape, box)
    for axis, (start, stop) in enumerate(box):
        starts = sorted({window[axis] + part[axis][0] for window in tiling.starts(shape, part)})
        if stop - start > tiling.patch_size[axis]:  # without its first or last window an end would not be seen
            assert starts[1] > start
            assert starts[-2] + tiling.patch_size[axis] < stop
        else:
            assert len(starts) <= 2 or starts[-1] <= start < stop <= starts[0] + tiling.patch_size[axis]


@given(tiled())
def test_windows_of_the_whole_volume_are_nnunets(given):
    tiling, shape, _ = given
    tiling = Tiling(tiling.patch_size, tiling.step)
    padded = tuple(max(pair) for pair in zip(shape, tiling.patch_size, strict=True))
    axes = compute_steps_for_sliding_window(padded, tiling.patch_size, tiling.step)
    assert tiling.starts(shape) == [(z, y, x) for z in axes[0] for y in axes[1] for x in axes[2]]


@pytest.mark.parametrize(
    ("slices", "patch", "step", "starts"),
    [
        (100, 48, 1.0, [0, 48, 52]),
        (96, 48, 1.0, [0, 48]),
        (30, 48, 1.0, [0]),
        (200, 80, 0.75, [0, 60, 120]),
        (201, 80, 0.75, [0, 60, 120, 121]),
    ],
)
def test_a_window_that_would_reach_over_the_end_is_moved_back(slices, patch, step, starts):
    tiling = Tiling((patch, 8, 8), (step, 0.5, 0.5), placement="back")
    assert [z for z, _, _ in tiling.starts((slices, 8, 8))] == starts


def literal(network, image, patch, starts, windows, probabilities, padding):
    """Mean over flips and windows of one network, by loops over numpy arrays in double precision."""
    wider = [max(a, b) - a for a, b in zip(image.shape, patch, strict=True)]
    padded = np.pad(image, [(n // 2, n - n // 2) for n in wider], constant_values=padding)
    weight = np.ones(patch)
    if windows.weighting == "gaussian":
        point = np.zeros(patch)
        point[tuple(size // 2 for size in patch)] = 1
        weight = gaussian_filter(point, [size / 8 for size in patch], mode="constant")
        weight[weight == 0] = weight[weight > 0].min()
    axes = ["zyx".index(name) for name in windows.mirror_axes]
    flips = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    total, weights = 0.0, np.zeros(padded.shape)
    for at in itertools.product(*starts):
        place = tuple(slice(a, a + p) for a, p in zip(at, patch, strict=True))
        answers = []
        for flip in flips:
            given = torch.from_numpy(np.flip(padded[place], flip).copy())[None, None].float()
            found = network(given)[0].detach().numpy().astype(float)
            answers.append(np.flip(probabilities(found), [axis + 1 for axis in flip]))
        summed = np.zeros((len(found), *padded.shape))
        summed[(slice(None), *place)] = np.mean(answers, 0) * weight
        total, weights[place] = total + summed, weights[place] + weight
    inner = tuple(slice(n // 2, n // 2 + size) for n, size in zip(wider, image.shape, strict=True))
    return (total / weights)[(slice(None), *inner)]


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(3, 12), st.integers(5, 12), st.integers(5, 12)),
    step=st.tuples(*[st.sampled_from([0.5, 0.75, 1.0])] * 3),
    placement=st.sampled_from(["even", "back"]),
    weighting=st.sampled_from(["gaussian", "uniform"]),
    axes=st.lists(st.sampled_from("zyx"), unique=True).map(tuple),
    average=st.sampled_from(["logits", "probabilities"]),
    padding=st.sampled_from(["zero", "lowest"]),
    regions=st.booleans(),
    seed=st.integers(0, 99),
)
def test_windows_flips_and_folds_are_averaged_as_a_literal_loop_does(
    shape, step, placement, weighting, axes, average, padding, regions, seed
):
    torch.manual_seed(seed)
    heads = 3 if regions else 4
    network = torch.nn.Conv3d(1, heads, 3, padding=1).eval()
    plans = plans_with(patch=(5, 6, 7))
    labels = {"labels": REGIONS} if regions else {}
    ours = model(network, plans, **labels)
    folds = [{k: torch.randn(v.shape) for k, v in network.state_dict().items()} for _ in range(2)]
    ours.weights = folds
    windows = Windows(step, placement, padding, weighting, axes, average)
    tiling = ours.tiling(windows)
    image = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    block = torch.from_numpy(image)[None]
    found = run_network(ours, block, tiling, tiling.starts(shape), average=average).float().numpy()
    activate = (expit if regions else lambda x: softmax(x, 0)) if average == "probabilities" else lambda x: x
    starts = []
    for size, patch, share in zip(shape, (5, 6, 7), step, strict=True):
        stride, last = round(patch * share), max(size, patch) - patch
        even = compute_steps_for_sliding_window((max(size, patch),), (patch,), share)[0]
        back = [*[at for at in range(0, 99, stride) if at < last], last]
        starts.append(even if placement == "even" else back)
    value = -1.0 if padding == "lowest" else 0.0  # the plans cut at -100 HU, and 100 HU are 1
    expected = []
    for weights in folds:
        network.load_state_dict(weights)
        expected.append(literal(network, image, (5, 6, 7), starts, windows, activate, value))
    assert np.allclose(found, np.mean(expected, 0), atol=4e-3 * max(1, np.abs(expected).max()))


def test_windows_of_air_are_background_in_probabilities_too():
    ours = model(ByIntensity(), plans_with(patch=(4, 4, 4)))
    tiling = ours.tiling(Windows(mirror_axes=(), average="probabilities"))
    block = torch.zeros(1, 4, 4, 12)
    found = run_network(ours, block, tiling, tiling.starts((4, 4, 12)), lambda _: False, average="probabilities")
    assert found[0].eq(1).all()
    assert found[1:].eq(0).all()


def test_z_of_a_two_dimensional_network_and_a_lowest_intensity_that_is_none_are_refused():
    plans = plans_with()
    plans["configurations"]["2d"] = {**plans["configurations"]["3d_fullres"], "patch_size": [16, 16]}
    flat = model(ByIntensity(), plans, "2d", mirror_axes=(0, 1))
    assert flat.tiling(Windows()).mirror_axes == (1, 2)
    assert flat.tiling(Windows(mirror_axes=("x",))).mirror_axes == (2,)
    with pytest.raises(InferenceError, match="mirror axis z: a two-dimensional network has none"):
        flat.tiling(Windows(mirror_axes=("z", "x")))
    uncut = model(ByIntensity(), plans_with(normalization_schemes=["NoNormalization"]))
    with pytest.raises(InferenceError, match="cut intensities nowhere"):
        uncut.tiling(Windows(padding="lowest"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"stride": 1}, "its keys are step, placement"),
        ({"step": [1, 1]}, "is one share, or three"),
        ({"step": 0}, "above 0 and at most 1"),
        ({"step": "half"}, "above 0 and at most 1"),
        ({"placement": "front"}, "is even or back"),
        ({"weighting": "cosine"}, "is gaussian or uniform"),
        ({"average": "labels"}, "is logits or probabilities"),
        ({"padding": "edge"}, "is zero or lowest"),
        ({"mirror_axes": ["z", "z"]}, "each at most once"),
        ({"mirror_axes": ["t"]}, "are z, y, x"),
        ({"mirror_axes": "zy"}, "is a list of axes"),
    ],
)
def test_windows_that_are_none_are_refused(content, said):
    with pytest.raises(InferenceError, match=rf"here: .*{said}"):
        Windows.from_json(content, "here")

"""Each operation against scipy and by eye; chains as data."""

import inspect
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small_kidneys import ragged

from nnunet_kits.errors import PostprocessingError
from nnunet_kits.postprocessing.operations import (
    OPERATIONS,
    fill_holes,
    keep_largest,
    remove_small,
    remove_unattached,
)
from nnunet_kits.postprocessing.pipeline import CHAINS_FOLDER, apply_chain, chain_names, load_chain, parse_chain
from nnunet_kits.postprocessing.structures import STRUCTURES

FULL = np.ones((3, 3, 3), bool)
STEP = {"operation": "keep_largest", "region": "kidney_and_mass", "count": 2}


def line(*labels):
    """A label map along one axis."""
    return np.array([[labels]], np.uint8)


def row(labels):
    return labels[0, 0].tolist()


def by_scipy(labels, members, keep):
    """The label map with the components whose size ``keep`` refuses set to background: label and bincount."""
    ids, count = ndimage.label(np.isin(labels, members), structure=FULL)
    sizes = np.bincount(ids.ravel(), minlength=count + 1)
    sizes[0] = 0
    removed = ~keep(sizes)
    removed[0] = False
    result = labels.copy()
    result[removed[ids]] = 0
    return result


maps = st.builds(
    ragged, st.integers(0, 999), st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([0.0, 0.05, 0.15, 0.5])
)
structures = st.sampled_from(list(STRUCTURES))


@settings(max_examples=40, deadline=None)
@given(maps, structures, st.integers(1, 4))
def test_keep_largest_keeps_what_scipys_labels_and_counts_say(labels, region, count):
    def large(sizes):
        return sizes >= np.sort(sizes)[::-1][min(count, len(sizes)) - 1]

    before = labels.copy()
    found = keep_largest(labels, 1.0, region=region, count=count, replace_with="background")
    assert np.array_equal(found, by_scipy(labels, STRUCTURES[region], large))
    assert np.array_equal(labels, before)


@settings(max_examples=30, deadline=None)
@given(maps, structures, st.integers(1, 20), st.sampled_from([0.3, 1.0, 2.5]))
def test_remove_small_keeps_what_scipys_labels_and_counts_say(labels, region, voxels, voxel_mm3):
    expected = by_scipy(labels, STRUCTURES[region], lambda sizes: sizes >= voxels)
    by_volume = remove_small(
        labels, voxel_mm3, region=region, min_volume_mm3=voxels * voxel_mm3, replace_with="background"
    )
    by_count = remove_small(labels, voxel_mm3, region=region, min_voxels=voxels, replace_with="background")
    assert np.array_equal(by_volume, expected)
    assert np.array_equal(by_count, expected)


@settings(max_examples=30, deadline=None)
@given(maps, st.sampled_from([("mass", "kidney"), ("tumor", "kidney"), ("cyst", "kidney"), ("tumor", "cyst")]))
def test_remove_unattached_drops_what_no_dilation_reaches(labels, names):
    region, to = names
    anchors = np.isin(labels, STRUCTURES[to])
    ids, count = ndimage.label(np.isin(labels, STRUCTURES[region]), structure=FULL)
    near = set(ids[ndimage.binary_dilation(anchors, FULL)])
    expected = labels.copy()
    if anchors.any():
        expected[np.isin(ids, [k for k in range(1, count + 1) if k not in near])] = 0
    found = remove_unattached(labels, 1.0, region=region, to=to, replace_with="background")
    assert np.array_equal(found, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["kidney", "mass", "kidney_and_mass"]))
def test_fill_holes_fills_what_scipys_binary_fill_holes_does(seed, region):
    labels = ragged(seed, (7, 8, 9), 0.85)
    mask = np.isin(labels, STRUCTURES[region])
    enclosed = ndimage.binary_fill_holes(mask) & ~mask & (labels == 0)
    found = fill_holes(labels, 1.0, region=region)
    assert np.array_equal(found != labels, enclosed)
    assert np.isin(found[enclosed], STRUCTURES[region]).all()


def test_keep_largest_removes_the_smaller_kidney_and_leaves_the_larger():
    labels = line(1, 1, 2, 0, 1, 0, 0, 0)
    assert row(keep_largest(labels, 1.0, region="kidney_and_mass")) == [1, 1, 2, 0, 0, 0, 0, 0]


def test_keep_largest_keeps_all_that_are_as_large_as_the_last():
    labels = line(1, 1, 0, 1, 0, 1)
    assert row(keep_largest(labels, 1.0, region="kidney", count=2)) == [1, 1, 0, 1, 0, 1]


def test_a_removed_speck_becomes_what_it_lies_in_or_background():
    labels = line(1, 2, 1, 0, 2, 0, 3, 2, 3)
    touching = remove_small(labels, 1.0, region="tumor", min_voxels=2)
    assert row(touching) == [1, 1, 1, 0, 0, 0, 3, 3, 3]
    background = remove_small(labels, 1.0, region="tumor", min_voxels=2, replace_with="background")
    assert row(background) == [1, 0, 1, 0, 0, 0, 3, 0, 3]


def test_sizes_are_in_cubic_millimetres():
    labels = line(2, 2, 0, 2, 2, 2)
    assert row(remove_small(labels, 5.0, region="tumor", min_volume_mm3=15)) == [0, 0, 0, 2, 2, 2]
    assert row(remove_small(labels, 5.0, region="tumor", min_volume_mm3=15.1)) == [0, 0, 0, 0, 0, 0]


def test_a_tumor_behind_a_cyst_that_touches_the_kidney_is_attached():
    labels = line(1, 3, 2, 0, 2, 3)
    assert row(remove_unattached(labels, 1.0)) == [1, 3, 2, 0, 0, 0]
    assert row(remove_unattached(labels, 1.0, region="tumor")) == [1, 3, 3, 0, 3, 3]


def test_a_large_loose_mass_stays_and_so_does_everything_where_there_is_no_kidney():
    labels = line(1, 0, 2, 2, 2, 0, 2)
    assert row(remove_unattached(labels, 10.0, max_volume_mm3=29)) == [1, 0, 2, 2, 2, 0, 0]
    assert row(remove_unattached(labels, 10.0, max_volume_mm3=30)) == [1, 0, 0, 0, 0, 0, 0]
    assert row(remove_unattached(line(2, 0, 3), 1.0)) == [2, 0, 3]


def shell():
    """A kidney with a hole of two voxels, of whose ten face neighbours six are tumour."""
    labels = np.zeros((5, 5, 6), np.uint8)
    labels[:3, :3, :4] = 1
    labels[0] *= 2
    labels[2] *= 2
    labels[:, 0] *= 1
    labels[1, 0, 1:3] = 2
    labels[1, 1, 1:3] = 0
    return labels


def test_a_hole_gets_the_label_that_most_of_its_neighbours_have_and_large_holes_stay_open():
    labels = shell()
    assert fill_holes(labels, 1.0)[1, 1, 1:3].tolist() == [2, 2]
    assert fill_holes(labels, 10.0, max_volume_mm3=19)[1, 1, 1:3].tolist() == [0, 0]
    assert fill_holes(labels, 10.0, max_volume_mm3=20)[1, 1, 1:3].tolist() == [2, 2]
    labels[1, 1, 1] = 3  # a label in the hole stays
    assert fill_holes(labels, 1.0, region="kidney")[1, 1].tolist() == [1, 3, 0, 1, 0, 0]
    assert fill_holes(labels, 1.0)[1, 1].tolist() == [1, 3, 2, 1, 0, 0]


def test_what_is_open_to_the_border_of_the_map_is_no_hole():
    labels = np.ones((3, 3, 3), np.uint8)
    labels[1, 1, 1:] = 0
    assert np.array_equal(fill_holes(labels, 1.0), labels)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_take_empty_maps_and_return_copies(name):
    parameters = {"region": "tumor"} if "region" in inspect.signature(OPERATIONS[name]).parameters else {}
    if name == "remove_small":
        parameters["min_voxels"] = 1
    for labels in (np.zeros((2, 3, 4), np.uint8), np.ones((2, 3, 4), np.uint8)):
        found = OPERATIONS[name](labels, 1.0, **parameters)
        assert np.array_equal(found, labels)
        assert found is not labels


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), name=st.sampled_from(["clean", "no_specks", "attached_masses", "fill_holes"]))
def test_a_chain_gives_the_same_in_any_order_and_direction_of_axes(seed, name):
    labels = ragged(seed, (6, 7, 8), 0.2)
    chain = load_chain(name)
    expected, _ = apply_chain(labels, 20.0, chain)
    turned, _ = apply_chain(labels.transpose(2, 0, 1)[::-1], 20.0, chain)
    assert np.array_equal(turned[::-1].transpose(1, 2, 0), expected)


# chains


@pytest.mark.parametrize("name", chain_names())
def test_every_shipped_chain_says_what_it_is_and_every_name_and_parameter_binds(name):
    chain = load_chain(name)
    content = json.loads((CHAINS_FOLDER / f"{name}.json").read_text())
    assert chain.as_json() == content
    assert chain.summary.endswith(".")
    assert chain.source == "ours" or chain.deviations
    assert chain.steps
    for step in chain.steps:
        inspect.signature(OPERATIONS[step.operation]).bind(None, 1.0, **step.parameters)
    labels = ragged(3, (5, 6, 7))
    found, done = apply_chain(labels, 1.0, chain)
    assert found.shape == labels.shape
    assert [{k: v for k, v in step.items() if k != "changed_ml"} for step in done] == content["steps"]


def test_a_chain_tells_what_each_step_changed():
    labels = line(1, 2, 1, 0, 2, 0, 1)
    steps = [{**STEP, "count": 1}, {"operation": "remove_small", "region": "tumor", "min_voxels": 2}]
    chain = parse_chain("x", {"summary": "", "source": "", "deviations": [], "steps": steps}, "x")
    found, done = apply_chain(labels, 1000.0, chain)
    assert row(found) == [1, 1, 1, 0, 0, 0, 0]
    assert [step["changed_ml"] for step in done] == [{"kidney": -1.0, "tumor": -1.0}, {"kidney": 1.0, "tumor": -1.0}]
    empty, done = apply_chain(np.zeros((2, 2, 2), np.uint8), 1.0, chain)
    assert not empty.any()
    assert [step["changed_ml"] for step in done] == [{}, {}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"more": 1}, "has exactly summary, source, deviations, steps, but this has"),
        ({"steps": {}}, "steps and deviations are lists"),
        ({"steps": [{"operation": "erode"}]}, f"step 1: operation is 'erode'. Known: {', '.join(OPERATIONS)}."),
        ({"steps": ["keep_largest"]}, "operation is 'keep_largest'"),
        ({"steps": [STEP, {**STEP, "k": 2}]}, "step 2: got an unexpected keyword argument 'k' of keep_largest"),
        ({"steps": [{"operation": "keep_largest"}]}, "missing 1 required keyword-only argument: 'region'"),
        ({"steps": [{**STEP, "region": "liver"}]}, "region is 'liver'. Allowed: kidney, cyst, kidney_and_mass"),
        ({"steps": [{**STEP, "region": 1}]}, "region is 1. Allowed"),
        ({"steps": [{**STEP, "count": 0}]}, "count is 0, but must be an integer of at least 1"),
        ({"steps": [{**STEP, "count": True}]}, "count is True"),
        ({"steps": [{**STEP, "replace_with": "liver"}]}, "replace_with is 'liver'. Allowed: touching, background"),
        ({"steps": [{"operation": "remove_small", "region": "tumor"}]}, "either min_volume_mm3 or min_voxels"),
        (
            {"steps": [{"operation": "remove_small", "region": "tumor", "min_voxels": 1, "min_volume_mm3": 1}]},
            "and not both",
        ),
        (
            {"steps": [{"operation": "remove_small", "region": "tumor", "min_volume_mm3": -1}]},
            "min_volume_mm3 is -1, but must be a number above 0",
        ),
        ({"steps": [{"operation": "remove_unattached", "region": "kidney_and_mass"}]}, "and kidney overlap"),
        ({"steps": [{"operation": "fill_holes", "max_volume_mm3": "1"}]}, "max_volume_mm3 is '1'"),
    ],
)
def test_a_chain_that_cannot_be_used_is_refused_with_its_key(tmp_path, change, reason):
    content = {"summary": "a", "source": "ours", "deviations": [], "steps": [STEP]} | change
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(content))
    with pytest.raises(PostprocessingError) as caught:
        load_chain(str(file))
    assert reason in str(caught.value)
    assert str(file) in str(caught.value)


def test_an_unknown_chain_and_a_broken_file_are_named(tmp_path):
    with pytest.raises(PostprocessingError, match=rf"there is no chain 'none'\. Known: {', '.join(chain_names())}; or"):
        load_chain("none")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(PostprocessingError, match="not a JSON file"):
        load_chain(str(tmp_path / "a.json"))

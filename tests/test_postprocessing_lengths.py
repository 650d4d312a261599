"""Operations that measure lengths, against brute force and SimpleITK."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist
from small_kidneys import ragged

from nnunet_kits.errors import PostprocessingError
from nnunet_kits.postprocessing.operations import remove_distant, remove_short
from nnunet_kits.postprocessing.pipeline import apply_chain, load_chain
from nnunet_kits.postprocessing.voxel import Voxel

FULL = np.ones((3, 3, 3), bool)
edges = st.tuples(*[st.floats(0.4, 6.0)] * 3)
maps = st.builds(ragged, st.integers(0, 999), st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([0.05, 0.15, 0.5]))


def masses(labels):
    """Each component of tumours and cysts, as a mask."""
    ids, count = ndimage.label(np.isin(labels, (2, 3)), structure=FULL)
    return [ids == number for number in range(1, count + 1)]


def line(*labels):
    return np.array([[labels]], np.uint8)


def test_a_mass_4_mm_from_a_kidney_stays_and_one_5_mm_from_it_goes():
    labels = line(1, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 2)
    found = remove_distant(labels, Voxel((1.0, 1.0, 1.25)), max_distance_mm=4, replace_with="background")
    assert found[0, 0].tolist() == [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]  # 3.75 mm, 10 mm, 15 mm
    found = remove_distant(labels, Voxel((1.0, 1.0, 1.25)), max_distance_mm=3.7, replace_with="background")
    assert found[0, 0].tolist() == [1] + [0] * 12


def test_a_large_mass_stays_anywhere_and_without_a_kidney_only_that():
    labels = line(0, 2, 0, 3, 3, 3)
    found = remove_distant(labels, Voxel((1.0, 1.0, 1.0)), max_volume_mm3=2, replace_with="background")
    assert found[0, 0].tolist() == [0, 0, 0, 3, 3, 3]


@settings(max_examples=60, deadline=None)
@given(maps, edges, st.floats(0.5, 12.0), st.integers(1, 40))
def test_distances_are_those_of_all_pairs_of_voxels(labels, edges_mm, limit, voxels):
    kidneys = np.argwhere(labels == 1) * edges_mm
    expected = labels.copy()
    for mass in masses(labels):
        distance = cdist(np.argwhere(mass) * edges_mm, kidneys).min() if len(kidneys) else np.inf
        if abs(distance - limit) < 1e-4:
            return
        if distance > limit and mass.sum() <= voxels:
            expected[mass] = 0
    voxel = Voxel(edges_mm)
    limits = {"max_distance_mm": limit, "max_volume_mm3": voxels * voxel.mm3}
    assert np.array_equal(remove_distant(labels, voxel, **limits, replace_with="background"), expected)


@settings(max_examples=40, deadline=None)
@given(maps, edges, st.floats(0.5, 25.0), st.integers(0, 2))
def test_diameters_are_simpleitks_feret_diameters_of_axial_slices(labels, edges_mm, limit, axial):
    expected = labels.copy()
    for mass in masses(labels):
        best = 0.0
        for plane in np.moveaxis(mass, axial, 0):
            image = SimpleITK.GetImageFromArray(plane.astype(np.uint8))
            image.SetSpacing([edges_mm[axis] for axis in (2, 1, 0) if axis != axial])
            statistics = SimpleITK.LabelShapeStatisticsImageFilter()
            statistics.ComputeFeretDiameterOn()
            statistics.Execute(image)
            best = max(best, statistics.GetFeretDiameter(1)) if statistics.HasLabel(1) else best
        if abs(best - limit) < 1e-4:
            return
        if best < limit:
            expected[mass] = 0
    voxel = Voxel(edges_mm, axial)
    assert np.array_equal(remove_short(labels, voxel, min_diameter_mm=limit, replace_with="background"), expected)


def test_a_voxel_knows_its_edges_and_its_axial_axis_from_an_affine():
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = -3.0, -0.7, 0.8, 1.0  # inferior, posterior, right
    assert Voxel.of(affine) == Voxel((3.0, 0.7, 0.8), axial=0)
    assert Voxel.of(affine[:, [2, 1, 0, 3]]) == Voxel((0.8, 0.7, 3.0), axial=2)


def test_renal_nets_chain_keeps_near_and_large_masses_and_drops_short_ones():
    labels = np.zeros((4, 40, 60), np.uint8)
    labels[:, 5:20, 5:20] = 1
    labels[1, 5:12, 22:26] = 2  # 3 mm from the kidney, 6 mm long
    labels[1, 18:20, 22:24] = 2  # as near, but 1.4 mm long
    labels[1, 30:38, 40:48] = 2  # far
    found, done = apply_chain(labels, Voxel((5.0, 1.0, 1.0)), load_chain("renal_net"))
    expected = labels.copy()
    expected[1, 18:20, 22:24] = expected[1, 30:38, 40:48] = 0
    assert np.array_equal(found, expected)
    assert [step["changed_ml"] for step in done] == [{"tumor": -0.32}, {"tumor": -0.02}]
    large, _ = apply_chain(labels, Voxel((350.0, 3.0, 3.0)), load_chain("renal_net"))
    assert large[1, 30, 40] == 2


@pytest.mark.parametrize(
    ("operation", "parameters", "message"),
    [
        (remove_distant, {"to": "mass"}, "mass and mass overlap"),
        (remove_distant, {"max_distance_mm": 0}, "max_distance_mm is 0"),
        (remove_distant, {"max_volume_mm3": -1}, "max_volume_mm3 is -1"),
        (remove_distant, {"replace_with": "x"}, "replace_with is 'x'"),
        (remove_short, {"min_diameter_mm": float("nan")}, "min_diameter_mm is nan"),
        (remove_short, {"region": "liver"}, "region is 'liver'"),
    ],
)
def test_parameters_out_of_their_range_are_refused(operation, parameters, message):
    with pytest.raises(PostprocessingError, match=message):
        operation(line(1, 2), 1.0, **parameters)

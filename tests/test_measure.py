"""Measures against formulas and the surface mesh, on grids of any orientation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from small_kidneys import SHAPE, SPACING, abdomen, ellipsoid, grid_affine, of

from nnunet_kits.errors import MeasurementError
from nnunet_kits.measurement import files, measure_labels
from nnunet_kits.measurement.lengths import FEW, axial_diameter, diameter_3d, hull_corners

# lengths


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.8, 0.8), (0.5, 0.9, 0.7)])
def test_a_ball_has_its_volume_and_diameters(spacing):
    shape = [int(50 / s) for s in spacing]
    labels = ellipsoid(shape, spacing, (24, 23, 25), (20, 20, 20)).astype(np.uint8) * 2
    found = of(measure_labels(labels, grid_affine(spacing)), "tumor")
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 8, rel=0.01)
    assert found.equivalent_diameter_cm == pytest.approx(4, rel=0.004)
    assert found.axial_diameter_cm == pytest.approx(4, abs=spacing[1] / 10)  # a voxel
    assert found.diameter_3d_cm == pytest.approx(4, abs=max(spacing) / 10)
    assert found.axial_diameter_cm <= found.diameter_3d_cm + 1e-9


def test_an_ellipsoid_is_measured_along_its_longest_axis_and_across_the_body():
    shape, spacing = (50, 60, 60), (2.0, 1.0, 1.0)
    labels = ellipsoid(shape, spacing, (50, 30, 30), (40, 15, 25)).astype(np.uint8) * 3
    found = of(measure_labels(labels, grid_affine(spacing)), "cyst")
    assert found.diameter_3d_cm == pytest.approx(8, abs=0.2)
    assert found.axial_diameter_cm == pytest.approx(5, abs=0.1)
    (x, _, z), (x2, _, z2) = found.axial_diameter_ends_mm
    assert abs(x - x2) / 10 == pytest.approx(found.axial_diameter_cm, abs=0.05)
    assert z == z2 == pytest.approx(33 - 50)


def test_a_single_voxel_is_as_long_as_its_edges():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 2
    found = of(measure_labels(labels, grid_affine((5.0, 0.7, 0.9))), "tumor")
    assert (found.axial_diameter_cm, found.diameter_3d_cm) == pytest.approx((0.09, 0.5))
    assert found.volume_ml == pytest.approx(5 * 0.7 * 0.9 / 1000)
    assert (found.centre_i, found.centre_j, found.centre_k) == pytest.approx((1, 1, 1))
    assert (found.centre_x_mm, found.centre_y_mm, found.centre_z_mm) == pytest.approx((10.1, -22.7, 28))


masks = st.builds(
    lambda seed, shape, share: np.random.default_rng(seed).random(shape) < share,
    st.integers(0, 999),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.sampled_from([0.1, 0.5, 1.0]),
).filter(lambda mask: mask.any())
steps = st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3, st.sampled_from([0.0, 0.3]))


@settings(max_examples=40, deadline=None)
@given(masks, steps)
def test_diameters_are_the_longest_between_all_midpoints_of_voxel_faces(mask, given_steps):
    *edges, shear = given_steps
    matrix = np.diag(edges) + shear * np.eye(3, k=1)

    def longest(places, axes):
        ends = np.concatenate([places + sign * half for sign in (0.5, -0.5) for half in np.eye(3)[axes]])
        return pdist(ends @ matrix.T).max()

    places = np.argwhere(mask).astype(float)
    assert diameter_3d(mask, matrix).mm == pytest.approx(longest(places, [0, 1, 2]))
    by_plane = [longest(places[places[:, 0] == z], [1, 2]) for z in np.unique(places[:, 0])]
    found = axial_diameter(mask, matrix)
    assert found.mm == pytest.approx(max(by_plane))
    assert np.linalg.norm(matrix @ (found.ends_zyx[0] - found.ends_zyx[1])) == pytest.approx(found.mm)


@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")  # scikit-image, NumPy 2.5
@pytest.mark.parametrize("seed", range(3))
def test_the_3d_diameter_is_the_longest_between_vertices_of_the_surface_mesh(seed):
    measure = pytest.importorskip("skimage.measure")
    mask = np.random.default_rng(seed).random((8, 9, 10)) < 0.2
    spacing = (2.5, 0.8, 0.7)
    vertices = measure.marching_cubes(np.pad(mask, 1).astype(float), 0.5, spacing=spacing)[0]
    assert diameter_3d(mask, np.diag(spacing)).mm == pytest.approx(pdist(vertices).max(), rel=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_many_points_are_compared_by_their_hull_also_when_they_are_flat(rank):
    generator = np.random.default_rng(rank)
    points = generator.normal(size=(3 * FEW, rank)) @ generator.normal(size=(rank, 3))
    corners = hull_corners(points)
    assert len(corners) < len(points)
    assert pdist(corners).max() == pytest.approx(pdist(points).max())


# grids


@settings(max_examples=15, deadline=None)
@given(
    axes=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    shift=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_no_order_direction_or_tilt_of_the_axes_changes_a_measure(axes, flips, angles, shift):
    labels, affine = abdomen(), grid_affine(SPACING)
    image = np.arange(labels.size).reshape(labels.shape)
    expected = measure_labels(labels, affine, image)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    turn[:3, 3] = shift
    order = np.eye(4)
    order[:3, :3] = np.eye(3)[:, axes]
    directions = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    stored = labels.transpose(axes)[directions]
    flip = np.diag([*(-1.0 if f else 1.0 for f in flips), 1.0])
    flip[:3, 3] = [n - 1 if f else 0 for f, n in zip(flips, stored.shape, strict=True)]
    found = measure_labels(stored, turn @ affine @ order @ flip, image.transpose(axes)[directions])
    assert found.midline_source == expected.midline_source == "kidneys"
    for ours, theirs in zip(found.structures, expected.structures, strict=True):
        assert (ours.structure, ours.component, ours.side) == (theirs.structure, theirs.component, theirs.side)
        for name in files.COLUMNS[3:]:
            if not name.startswith("centre_") or name.endswith("line_mm"):
                mine, other = getattr(ours, name), getattr(theirs, name)
                assert mine == other or mine == pytest.approx(other, rel=1e-6, abs=1e-6), name
        centre, place = ([getattr(m, f"centre_{a}_mm") for a in "xyz"] for m in (ours, theirs))
        assert centre == pytest.approx(turn[:3, :3] @ place + turn[:3, 3], abs=1e-6)
        index = np.array([ours.centre_i, ours.centre_j, ours.centre_k, 1])
        assert (turn @ affine @ order @ flip @ index)[:3] == pytest.approx(centre, abs=1e-6)


# sides


def test_kidneys_and_lesions_get_the_patients_side_from_the_affine():
    found = measure_labels(abdomen(), grid_affine(SPACING))
    assert [(m.structure, m.component, m.side) for m in found.structures] == [
        ("kidney", 1, "right"),
        ("kidney_and_mass", 1, "right"),
        ("kidney", 1, "left"),
        ("kidney_and_mass", 1, "left"),
        ("tumor", 1, "right"),
        ("cyst", 1, "left"),
        ("cyst", 2, "left"),
    ]
    right, left = (of(found, "kidney_and_mass", side) for side in ("right", "left"))
    assert right.centre_x_mm > found.midline_x_mm > left.centre_x_mm
    assert right.volume_ml == pytest.approx(of(found, "kidney", "right").volume_ml + of(found, "tumor").volume_ml)
    assert (right.pieces, left.pieces) == (1, 2)  # the loose cyst


def test_a_single_kidney_lies_on_its_side_of_the_images_middle():
    labels = abdomen()
    labels[:, :, 45:] = 0
    found = measure_labels(labels, grid_affine(SPACING))
    assert {m.side for m in found.structures} == {"right"}
    assert found.midline_source == "image"
    assert found.midline_x_mm == pytest.approx(11 - 89)
    part = measure_labels(labels[:, :, :30], grid_affine(SPACING), middle_x_mm=found.midline_x_mm)
    assert {m.side for m in part.structures} == {"right"}


def test_a_horseshoe_kidney_is_on_both_sides_and_so_are_its_lesions():
    labels = abdomen()
    labels[18:22, 18:22, 20:70] = np.maximum(labels[18:22, 18:22, 20:70], 1)
    found = measure_labels(labels, grid_affine(SPACING))
    assert {m.side for m in found.structures} == {"both"}
    assert [m.structure for m in found.structures][:2] == ["kidney", "kidney_and_mass"]
    assert of(found, "tumor").exophytic_share is not None
    assert of(found, "tumor").above_upper_polar_line_share is None


def test_a_tumor_belongs_to_the_kidney_that_it_grows_from_though_it_crosses_the_midline():
    labels = abdomen()
    labels[19:21, 19:21, 25:50][labels[19:21, 19:21, 25:50] == 0] = 2
    labels[ellipsoid(SHAPE, SPACING, (60, 40, 97), (14, 14, 14))] = 2
    found = measure_labels(labels, grid_affine(SPACING))
    largest = of(found, "tumor")
    assert largest.centre_x_mm < found.midline_x_mm
    assert largest.side == "right"
    bridged = abdomen()
    bridged[18:22, 18:22, 25:65][bridged[18:22, 18:22, 25:65] == 0] = 2  # from kidney to kidney: its centre decides
    found = measure_labels(bridged, grid_affine(SPACING))
    expected = "right" if of(found, "tumor").centre_x_mm > found.midline_x_mm else "left"
    assert of(found, "tumor").side == expected
    assert {m.side for m in found.structures} == {"right", "left"}


def test_a_map_without_kidney_or_without_anything_is_measured_as_far_as_it_goes():
    labels = np.zeros((5, 5, 9), np.uint8)
    assert measure_labels(labels, grid_affine(SPACING)).structures == ()
    labels[2, 2, 1] = 2
    (tumor,) = measure_labels(labels, grid_affine(SPACING)).structures
    assert (tumor.structure, tumor.side, tumor.exophytic_share) == ("tumor", "right", None)


def test_small_lesions_can_be_left_out():
    found = measure_labels(abdomen(), grid_affine(SPACING), min_volume_ml=0.1)
    assert [m.component for m in found.structures if m.structure == "cyst"] == [1]


# image


def test_hu_are_the_mean_and_standard_deviation_over_the_structure():
    labels, generator = abdomen(), np.random.default_rng(0)
    image = generator.normal(40, 12, labels.shape).round().astype(np.int16)
    image[labels == 2] += 30
    tumor = of(measure_labels(labels, grid_affine(SPACING), image), "tumor")
    assert (tumor.hu_mean, tumor.hu_sd) == pytest.approx((image[labels == 2].mean(), image[labels == 2].std()))
    assert of(measure_labels(labels, grid_affine(SPACING)), "tumor").hu_mean is None


def test_an_image_of_another_shape_and_a_singular_affine_are_refused():
    with pytest.raises(MeasurementError, match=r"the image is \(2, 2, 2\), but the label map is \(40, 40, 90\)"):
        measure_labels(abdomen(), grid_affine(SPACING), np.zeros((2, 2, 2)))
    with pytest.raises(MeasurementError, match="is singular, so there are no millimetres"):
        measure_labels(abdomen(), np.zeros((4, 4)))

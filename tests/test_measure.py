"""Measures against formulas, SimpleITK and the surface mesh, on grids of any orientation."""

import csv
import json

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from nnunet_kits.cli.main import main
from nnunet_kits.errors import MeasurementError
from nnunet_kits.images import write_volume
from nnunet_kits.measurement import files, measure_files, measure_labels
from nnunet_kits.measurement.lengths import FEW, axial_diameter, diameter_3d, hull_corners
from nnunet_kits.measurement.sections import concave_envelope, exophytic_share, polar_lines

REAL = SHARED / "kits_real"


def grid_affine(spacing_zyx_mm):
    """KiTS's orientation: (z, y, x) = head to feet, front to back, right to left; RAS x, y, z fall along them."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = -np.array(spacing_zyx_mm)
    affine[:3, 3] = (11.0, -22.0, 33.0)
    affine[3, 3] = 1
    return affine


def ellipsoid(shape, spacing, centre_mm, radii_mm):
    """Mask of the voxels whose centre lies in an ellipsoid; millimetres from the first voxel."""
    places = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    return sum(((p - c) / r) ** 2 for p, c, r in zip(places, centre_mm, radii_mm, strict=True)) <= 1


SHAPE, SPACING = (40, 40, 90), (3.0, 2.0, 2.0)


def abdomen():
    """Two kidneys, 100 mm apart; a tumour on the right one, a cyst in the left one, and a loose cyst on the left."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[ellipsoid(SHAPE, SPACING, (60, 40, 40), (50, 25, 28))] = 1
    labels[ellipsoid(SHAPE, SPACING, (54, 40, 140), (45, 22, 26))] = 1
    labels[ellipsoid(SHAPE, SPACING, (60, 40, 18), (15, 12, 13))] = 2
    labels[ellipsoid(SHAPE, SPACING, (54, 40, 140), (9, 8, 8))] = 3
    labels[1, 1, 80] = 3
    return labels


def of(measures, structure, side=None, component=1):
    (found,) = (
        m
        for m in measures.structures
        if m.structure == structure and m.component == component and side in (None, m.side)
    )
    return found


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


# sections


def box(*ranges):
    return tuple(slice(*r) for r in ranges)


def test_the_exophytic_share_is_what_lies_outside_the_outline_of_each_plane():
    parenchyma = np.zeros((6, 12, 14), bool)
    parenchyma[1:5, 1:11, 2:10] = True  # columns 2 to 9
    lesion = np.zeros_like(parenchyma)
    lesion[2:4, 4:8, 8:12] = True  # columns 8 to 11: two inside, two outside
    parenchyma &= ~lesion
    where = box((2, 4), (4, 8), (8, 12))
    assert exophytic_share(lesion[where], where, parenchyma) == 0.5
    inside = box((2, 3), (4, 6), (4, 6))
    assert exophytic_share(np.ones((1, 2, 2), bool), inside, parenchyma) == 0
    beyond = box((4, 6), (4, 6), (4, 6))  # one plane with kidney, one without
    assert exophytic_share(np.ones((2, 2, 2), bool), beyond, parenchyma) == 0.5
    apart = box((2, 3), (0, 1), (12, 14))
    assert exophytic_share(np.ones((1, 1, 2), bool), apart, parenchyma) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=12))
def test_the_envelope_is_the_least_concave_function_above(values):
    positions = np.arange(len(values))
    found = concave_envelope(positions, np.array(values))
    assert (found >= np.array(values) - 1e-9).all()
    assert (np.diff(found, 2) <= 1e-9).all()
    chords = [
        max(
            values[a] + (values[b] - values[a]) * (p - a) / max(b - a, 1)
            for a in range(p + 1)
            for b in range(p, len(values))
        )
        for p in positions
    ]
    assert found == pytest.approx(chords)


def bean(depth, start=8, stop=16, medial=1):
    """A block of 24 planes with a cleft in one side, its depth in columns."""
    organ = np.zeros((28, 20, 24), bool)
    organ[2:26, 4:16, 4:20] = True
    cleft = slice(20 - depth, 20) if medial > 0 else slice(4, 4 + depth)
    organ[start:stop, 9:11, cleft] = False
    return organ


@pytest.mark.parametrize("medial", [1, -1])
def test_polar_lines_lie_where_the_medial_cleft_begins_and_ends(medial):
    found = polar_lines(bean(6, medial=medial), medial, (2.0, 1.0, 1.0))
    assert (found.upper, found.lower) == (7.5, 15.5)
    assert polar_lines(bean(6, medial=medial), -medial, (2.0, 1.0, 1.0)) is None


@pytest.mark.parametrize("organ", [bean(4), bean(6, 8, 12), bean(6, 2, 12), bean(6, 16, 26), np.zeros((3, 3, 3), bool)])
def test_no_polar_lines_where_the_cleft_is_shallow_short_or_at_an_end(organ):
    assert polar_lines(organ, 1, (2.0, 1.0, 1.0)) is None


def test_a_lesion_is_placed_by_the_polar_lines_of_its_kidney():
    labels = np.zeros((28, 20, 80), np.uint8)
    labels[:, :, :24][bean(6)] = 1
    labels[:, :, 56:][bean(6, medial=-1)] = 1
    labels[4:8, 4:6, 5:7] = 2  # above the line at 7.5
    labels[5:9, 14:16, 5:7] = 3  # three planes above, one below
    found = measure_labels(labels, grid_affine((2.0, 1.0, 1.0)))
    tumor, cyst = of(found, "tumor"), of(found, "cyst")
    assert (tumor.above_upper_polar_line_share, cyst.above_upper_polar_line_share) == (1, 0.75)
    assert tumor.below_lower_polar_line_share == 0
    assert tumor.centre_below_upper_polar_line_mm == pytest.approx((5.5 - 7.5) * 2)
    assert tumor.centre_above_lower_polar_line_mm == pytest.approx((15.5 - 5.5) * 2)
    assert found.polar_lines_z_mm["right"] == pytest.approx((33 - 15, 33 - 31))


# files


@pytest.fixture
def folder(tmp_path):
    """Two label maps and their CTs."""
    for number in range(2):
        labels = abdomen()
        labels[:, :, : 2 * number] = 0
        write_volume(tmp_path / f"case_{number:05d}.nii.gz", labels, grid_affine(SPACING))
        image = np.full(SHAPE, 30 + number, np.int16)
        (tmp_path / "ct").mkdir(exist_ok=True)
        write_volume(tmp_path / "ct" / f"case_{number:05d}_0000.nii.gz", image, grid_affine(SPACING))
    return tmp_path


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_a_table_and_a_json_with_the_numbers_of_python(folder, capsys):
    assert main(["measure", str(folder), "-o", str(folder / "out"), "--images", str(folder / "ct")]) == 0
    rows = table(folder / "out" / "measures.csv")
    assert list(rows[0])[:6] == ["case", "structure", "component", "side", "volume_ml", "axial_diameter_cm"]
    assert len(rows) == 14
    content = json.loads((folder / "out" / "measures.json").read_text())
    expected = measure_labels(abdomen(), grid_affine(SPACING), np.full(SHAPE, 30))
    for row, kept, measure in zip(
        rows, content["cases"]["case_00000"]["structures"], expected.structures, strict=False
    ):
        assert (row["case"], row["structure"], row["side"]) == ("case_00000", measure.structure, measure.side)
        assert float(row["volume_ml"]) == pytest.approx(measure.volume_ml, abs=1e-4)
        assert kept["diameter_3d_cm"] == pytest.approx(measure.diameter_3d_cm)
        assert kept["centre_k"] == pytest.approx(measure.centre_k)
        assert (row["hu_mean"], kept["hu_mean"]) == ("30.0000", 30.0)
    assert rows[0]["exophytic_share"] == ""
    assert "case_00001: right kidney" in capsys.readouterr().out
    assert not list((folder / "out").glob(".*"))


def test_a_single_file_and_a_kits_folder_are_measured_under_the_cases_name(folder):
    single, failed = measure_files(folder / "case_00001.nii.gz", folder / "a", folder / "ct" / "case_00001_0000.nii.gz")
    assert list(single) == ["case_00001"]
    assert failed == {}
    kits = folder / "kits" / "case_00001"
    kits.mkdir(parents=True)
    (folder / "case_00001.nii.gz").rename(kits / "segmentation.nii.gz")
    (folder / "ct" / "case_00001_0000.nii.gz").rename(kits / "imaging.nii.gz")
    assert measure_files(folder / "kits", folder / "b", folder / "kits")[0] == single
    assert measure_files(kits / "segmentation.nii.gz", folder / "c", kits / "imaging.nii.gz")[0] == single


def test_a_damaged_file_is_named_and_the_others_are_measured_and_kept(folder, capsys):
    good = (folder / "case_00001.nii.gz").read_bytes()
    (folder / "case_00001.nii.gz").write_bytes(good[:-50])
    assert main(["measure", str(folder), "-o", str(folder / "out")]) == 2
    assert "case_00001.nii.gz" in capsys.readouterr().err
    assert {row["case"] for row in table(folder / "out" / "measures.csv")} == {"case_00000"}
    (folder / "case_00001.nii.gz").write_bytes(good)
    said = []
    found, failed = measure_files(folder, folder / "out", say=said.append)
    assert said[0] == "1 of 2 cases were measured before"
    assert len(said) == 2
    assert failed == {}
    assert found == measure_files(folder, folder / "anew")[0]


def test_two_processes_measure_the_same(folder):
    assert measure_files(folder, folder / "a", workers=2) == measure_files(folder, folder / "b")


def test_what_cannot_be_measured_is_refused_with_its_name(folder):
    with pytest.raises(MeasurementError, match="nothing: no label map and no folder of label maps"):
        measure_files(folder / "nothing", folder / "out")
    with pytest.raises(MeasurementError, match=r"no CT of case_00000, neither case_00000_0000.nii.gz nor"):
        measure_files(folder, folder / "out", folder / "out")
    labels = abdomen()
    labels[5, 5, 5] = 4
    write_volume(folder / "case_00000.nii.gz", labels, grid_affine(SPACING))
    write_volume(folder / "ct" / "case_00001_0000.nii.gz", np.zeros(SHAPE, np.int16), grid_affine((3.0, 2.0, 2.1)))
    _, failed = measure_files(folder, folder / "out", folder / "ct")
    assert "holds label 4, but the labels of KiTS are 0 background, 1 kidney" in failed["case_00000"]
    assert "case_00001: the affines of image and label map differ" in failed["case_00001"]


# real label maps


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real label maps in {REAL}")
@pytest.mark.parametrize(
    ("year", "case"), [("kits23", "case_00061"), ("kits19", "case_00015"), ("kits23", "case_00470")]
)
def test_real_kidneys_and_lesions_have_simpleitks_volumes_and_centres_and_plausible_sizes(year, case, tmp_path):
    import SimpleITK

    file = REAL / year / case / "segmentation.nii.gz"
    found = measure_files(file, tmp_path)[0][case]
    kidneys = [m for m in found.structures if m.structure == "kidney_and_mass"]
    assert [m.side for m in kidneys] == ["right", "left"]
    assert found.midline_source == "kidneys"
    for kidney in kidneys:
        assert 100 < kidney.volume_ml < 500
        assert 7 < kidney.diameter_3d_cm < 17
    image = SimpleITK.ReadImage(str(file))
    labels = SimpleITK.ConnectedComponent(image == 2, True)
    shapes = SimpleITK.LabelShapeStatisticsImageFilter()
    shapes.ComputeFeretDiameterOn()
    shapes.Execute(labels)
    tumors = [m for m in found.structures if m.structure == "tumor"]
    by_size = sorted(shapes.GetLabels(), key=shapes.GetPhysicalSize, reverse=True)
    assert len(by_size) == len(tumors)
    for tumor, label in zip(tumors, by_size, strict=True):
        assert tumor.volume_ml == pytest.approx(shapes.GetPhysicalSize(label) / 1000, rel=1e-5)
        x, y, z = shapes.GetCentroid(label)  # LPS
        assert (tumor.centre_x_mm, tumor.centre_y_mm, tumor.centre_z_mm) == pytest.approx((-x, -y, z), abs=1e-3)
        assert tumor.diameter_3d_cm == pytest.approx(
            shapes.GetFeretDiameter(label) / 10, abs=max(image.GetSpacing()) / 10
        )
        assert 0.2 < tumor.axial_diameter_cm <= tumor.diameter_3d_cm < 20
        assert 0 <= tumor.exophytic_share <= 1

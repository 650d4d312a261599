"""Charts and overlays of the report."""

import statistics

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_report import SHAPE, case_arrays, shown, write_model

from nnunet_kits import geometry
from nnunet_kits.labels import Label
from nnunet_kits.palette import LABEL_COLOURS
from nnunet_kits.reporting import canvas, figures, overlays, shading
from nnunet_kits.reporting.overlays import Case
from nnunet_kits.status.training_log import History, read_history


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path)


# Charts


def horizontal_lines(figure):
    """Ends of each line of a box plot's row that lies along it: the whiskers."""
    (axes,) = figure.axes
    lines = [line.get_xydata() for line in axes.lines]
    return [sorted(line[:, 0]) for line in lines if len(line) == 2 and line[0, 1] == line[1, 1] == 0]


@given(st.lists(st.floats(0, 1), min_size=5, max_size=40))
@settings(max_examples=30, deadline=None)
def test_a_box_has_the_quartiles_its_whiskers_tukeys_reach_and_each_case_is_a_point(values):
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    low = min([q1, *(v for v in values if v >= q1 - 1.5 * (q3 - q1))])
    high = max([q3, *(v for v in values if v <= q3 + 1.5 * (q3 - q1))])
    figure = figures.score_boxes({"tumor": values})
    (axes,) = figure.axes
    (box,) = (patch.get_path().get_extents() for patch in axes.patches)
    assert (box.x0, box.x1) == pytest.approx((q1, q3), abs=1e-9)
    lower, upper = horizontal_lines(figure)
    assert (*lower, *upper) == pytest.approx((low, q1, q3, high), abs=1e-9)
    (upright,) = (line for line in axes.lines if len(line.get_xdata()) == 2 and np.ptp(line.get_ydata()) > 0)
    assert upright.get_xdata() == pytest.approx([median] * 2, abs=1e-9)
    points, mean = axes.lines[0], axes.lines[-1]
    assert sorted(points.get_xdata()) == sorted(values)
    assert mean.get_xdata() == pytest.approx([statistics.fmean(values)])


def test_few_cases_have_points_and_no_box():
    (axes,) = figures.score_boxes({"tumor": [0.1, 0.2, 0.3, 0.4]}).axes
    assert list(axes.patches) == []
    assert list(axes.lines[0].get_xdata()) == [0.1, 0.2, 0.3, 0.4]


def test_classes_are_named_beside_their_rows_from_top_to_bottom():
    (axes,) = figures.score_boxes({"kidney_and_mass": [1.0], "tumor": [0.5]}).axes
    assert [(tick.get_text(), tick.get_position()[1]) for tick in axes.get_yticklabels()] == [
        ("kidney_and_mass", 0),
        ("tumor", 1),
    ]
    assert axes.yaxis_inverted()


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_ticks_are_round_and_hold_all_numbers(low, span):
    (axes,) = figures.dice_curves({"0": History(pseudo_dice={0: low, 1: low + span})}).axes
    ticks = axes.get_yticks()
    assert axes.get_ylim() == (ticks[0], ticks[-1])
    assert 2 <= len(ticks) <= 8
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + step * 1e-6
    assert ticks[-1] >= low + span - step * 1e-6
    assert f"{step:.1e}".split("e")[0] in ("1.0", "2.0", "5.0")


def test_curves_start_left_end_right_and_rise_with_the_numbers(model):
    history = read_history(model / "fold_0")
    (axes,) = figures.dice_curves({"0": history}).axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == [0, 1]
    assert axes.get_xlim() == (0, 1)
    assert line.get_ydata()[1] > line.get_ydata()[0]
    (axes,) = figures.loss_curves({"0": history}).axes
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    assert figures.dice_curves({"0": read_history(model / "fold_1")}) is None


def test_folds_are_told_apart_without_colour_and_named():
    figure = figures.dice_curves({str(fold): History(pseudo_dice={0: 0.1, 9: 0.2}) for fold in range(5)})
    (axes,), (legend,) = figure.axes, figure.legends
    assert len({line.get_marker() for line in axes.lines}) == 5
    assert [text.get_text() for text in legend.get_texts()] == [f"fold {fold}" for fold in range(5)]
    assert [handle.get_marker() for handle in legend.legend_handles] == [line.get_marker() for line in axes.lines]


def test_what_is_not_finite_is_left_out_of_a_curve():
    (axes,) = figures.loss_curves({"0": History({0: 1.0, 1: float("inf"), 2: 0.5}, {0: float("inf")})}).axes
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[0, 1.0], [2, 0.5]]


def test_the_same_numbers_give_the_same_svg_whatever_matplotlibs_settings():
    def svg():
        return figures.to_svg(figures.score_boxes({"tumor": [0.1, 0.2, 0.3, 0.4, 0.9]}))

    first = svg()
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "none", "axes.facecolor": "red", "figure.dpi": 300}):
        assert svg() == first
    assert b"<text" not in first  # letters are outlines, so that no font is missing
    assert b"date" not in first.lower()


# Overlays


def test_the_window_maps_minus_160_to_black_and_240_to_white():
    assert shading.window(np.array([[-1000, -160, 40, 240, 3000, np.nan]])).tolist() == [[0, 0, 128, 255, 255, 0]]


def test_the_prediction_is_blended_in_and_the_reference_outlined():
    grey = np.full((9, 9), 100, np.uint8)
    tumor = np.full((9, 9), Label.TUMOR)
    tumor[0] = 0
    rgb = shading.blend(grey, tumor, tumor)
    assert rgb[0, 4].tolist() == [100, 100, 100]
    assert rgb[1, 4].tolist() == rgb[2, 4].tolist() == list(LABEL_COLOURS[Label.TUMOR])
    assert rgb[5, 4].tolist() == [145, 98, 60]  # 0.6 x 100 + 0.4 x (213, 94, 0)
    assert (shading.blend(grey, tumor, None)[1, 4] == rgb[5, 4]).all()


def test_planes_go_through_the_largest_lesion_of_the_reference_then_the_prediction_then_the_kidney():
    ct, reference = case_arrays()
    empty = np.zeros_like(reference)
    point = overlays.point_of_interest(Case(ct, empty, reference, (5.0, 1.0, 1.0)))
    assert reference[point] == Label.TUMOR
    cyst = np.where(reference == Label.TUMOR, Label.KIDNEY, reference)
    assert cyst[overlays.point_of_interest(Case(ct, cyst, None, (5.0, 1.0, 1.0)))] == Label.CYST
    kidney = (reference > 0).astype(np.uint8)
    assert kidney[overlays.point_of_interest(Case(ct, kidney, empty, (5.0, 1.0, 1.0)))] == Label.KIDNEY
    assert overlays.point_of_interest(Case(ct, empty, None, (5.0, 1.0, 1.0))) == (6, 30, 40)


def test_a_cube_looks_square_in_every_plane_whatever_the_slice_thickness():
    labels = np.zeros((20, 100, 100), np.uint8)
    labels[8:12, 40:60, 40:60] = Label.TUMOR  # 20 x 20 x 20 mm
    case = Case(np.zeros(labels.shape), labels, None, (5.0, 1.0, 1.0))
    box = tuple((0, length) for length in labels.shape)
    for plane, index in zip(geometry.PLANES, (10, 50, 50), strict=True):
        rgb = np.asarray(overlays._draw(case, overlays.Panel(plane, index, box), 4.0)).astype(int)
        coloured = rgb[..., 0] - rgb[..., 2] > 40
        assert coloured.any(axis=0).sum() == coloured.any(axis=1).sum() == 80


def test_the_patients_right_is_on_the_left_of_the_axial_and_coronal_picture():
    case = shown()
    box = tuple((0, length) for length in SHAPE)
    for plane, index in (("axial", 6), ("coronal", 38)):
        rgb = np.asarray(overlays._draw(case, overlays.Panel(plane, index, box), 3.0)).astype(int)
        columns = np.flatnonzero((rgb[..., 0] - rgb[..., 2] > 60).any(axis=0))
        assert columns.max() < rgb.shape[1] / 2


@pytest.mark.parametrize("labels", [0, None])
@pytest.mark.parametrize("with_reference", [True, False])
def test_pictures_keep_their_width_when_maps_are_empty_or_missing(labels, with_reference):
    case = shown(np.zeros(SHAPE, np.uint8) if labels == 0 else None, with_reference)
    for image in (canvas.beside(overlays.render_planes(case)), overlays.render_strip(case)):
        assert overlays.PAGE_WIDTH * 0.9 < image.width < overlays.PAGE_WIDTH * 1.01
        assert image.height > 50


def test_an_image_of_air_and_one_slice_can_be_shown():
    empty = np.zeros((1, 20, 20), np.uint8)
    case = Case(np.full(empty.shape, -1000.0), empty, None, (5.0, 1.0, 1.0))
    assert canvas.beside(overlays.render_planes(case)).width > 100
    assert overlays.render_strip(case).width > 100


def test_low_panels_get_black_around_them_and_their_letters_where_they_have_room():
    strip = Image.new("RGB", (400, 9), (90, 90, 90))
    whole = np.asarray(canvas.annotate(strip, "coronal", "coronal 1/20", 1.0)).astype(int)
    assert whole.shape == (59, 400, 3)
    assert (whole[25:34, 150:180] == 90).all()  # the slices, in the middle
    letters = (whole > 200).all(axis=2)
    for rows, columns in ((slice(0, 20), slice(190, 210)), (slice(45, 59), slice(190, 210))):  # S and I
        assert letters[rows, columns].any()
    for columns in (slice(0, 14), slice(386, 400)):  # R and L
        assert letters[22:40, columns].any()


def test_every_label_has_its_letter_in_it_or_right_of_a_small_one():
    labels = np.zeros((100, 200), np.uint8)
    labels[10:60, 10:60] = Label.KIDNEY
    labels[80:84, 100:104] = Label.CYST
    labels[80:82, 150:152] = Label.CYST
    (cyst, (right, middle)), (kidney, (x, y)) = shading.letters(labels, None)
    assert (kidney, cyst) == ("K", "C")
    assert labels[int(y), int(x)] == Label.KIDNEY
    assert 104 <= right < 120
    assert 80 <= middle < 84
    assert shading.letters(np.zeros((5, 5), np.uint8), None) == []


def test_a_tumor_that_only_one_map_has_gets_its_letter_and_the_kidneys_is_not_on_it():
    kidney = np.zeros((100, 200), np.uint8)
    kidney[10:90, 10:90] = Label.KIDNEY
    tumor = kidney.copy()
    tumor[20:80, 20:80] = Label.TUMOR
    for prediction, reference in ((kidney, tumor), (tumor, kidney)):
        found = shading.letters(prediction, reference)
        assert {letter: tumor[int(y), int(x)] for letter, (x, y) in found} == {"T": Label.TUMOR, "K": Label.KIDNEY}


def test_the_legends_filling_is_what_the_picture_shows_on_soft_tissue():
    (cyst,) = shading.blend(np.full((1, 1), 128, np.uint8), np.full((1, 1), Label.CYST), None)[0].tolist()
    assert list(shading.legend_colours()[Label.CYST]) == cyst == [111, 149, 170]

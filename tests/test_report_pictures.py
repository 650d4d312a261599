"""Charts and overlays of the report."""

import re

import matplotlib.cbook
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_report import SHAPE, case_arrays, shown, write_model

from nnunet_kits import geometry
from nnunet_kits.labels import Label
from nnunet_kits.reporting import charts, overlays
from nnunet_kits.reporting.overlays import COLOURS, Case
from nnunet_kits.reporting.training_log import read_history


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path)


# Charts


def positions(svg, shape, attribute):
    return [float(value) for value in re.findall(rf'<{shape} [^>]*\b{attribute}="([-\d.]+)"', svg)]


@given(st.lists(st.floats(0, 1), min_size=5, max_size=40))
@settings(max_examples=30, deadline=None)
def test_a_box_plot_has_matplotlibs_quartiles_and_whiskers(values):
    (expected,) = matplotlib.cbook.boxplot_stats(values)
    svg = charts.box_plots("Dice", {"tumor": values})

    def to_score(x):
        return (x - charts.MARGIN_LEFT) / (charts.WIDTH - 16 - charts.MARGIN_LEFT)

    lines = [to_score(x) for x in positions(svg.split("<circle")[-1], "line", "x1")]
    ends = [to_score(x) for x in positions(svg.split("<circle")[-1], "line", "x2")]
    assert lines[0] == pytest.approx(expected["whislo"], abs=2e-4)
    assert ends[0] == pytest.approx(expected["q1"], abs=2e-4)
    assert lines[1] == pytest.approx(expected["q3"], abs=2e-4)
    assert ends[1] == pytest.approx(expected["whishi"], abs=2e-4)
    assert lines[2] == pytest.approx(expected["med"], abs=2e-4)
    assert len(positions(svg, "circle", "cx")) == len(values)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_round_and_hold_all_numbers(low, span):
    ticks = charts._ticks(low, low + span)
    assert 2 <= len(ticks) <= 8
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + step * 1e-6
    assert ticks[-1] >= low + span - step * 1e-6
    assert f"{step:.0e}"[0] in "125"


def test_curves_start_left_end_right_and_rise_with_the_numbers(model):
    history = read_history(model / "fold_0")
    svg = charts.dice_curves({"0": history})
    (points,) = re.findall(r'points="([^"]+)"', svg)
    (x0, y0), (x1, y1) = (tuple(map(float, point.split(","))) for point in points.split())
    assert (x0, x1) == (charts.CURVE_LEFT, charts.WIDTH - 16)
    assert y1 < y0
    losses = charts.loss_curves({"0": history})
    assert losses.count("<polyline") == 2
    assert losses.count("stroke-dasharray") == 1
    assert charts.dice_curves({"0": read_history(model / "fold_1")}) == ""


# Overlays


def test_the_window_maps_minus_160_to_black_and_240_to_white():
    assert overlays.window(np.array([[-1000, -160, 40, 240, 3000, np.nan]])).tolist() == [[0, 0, 128, 255, 255, 0]]


def test_the_prediction_is_blended_in_and_the_reference_outlined():
    grey = np.full((9, 9), 100, np.uint8)
    tumor = np.full((9, 9), Label.TUMOR)
    tumor[0] = 0
    rgb = overlays.blend(grey, tumor, tumor)
    assert rgb[0, 4].tolist() == [100, 100, 100]
    assert rgb[1, 4].tolist() == rgb[2, 4].tolist() == list(COLOURS[Label.TUMOR])
    assert rgb[5, 4].tolist() == [145, 98, 60]  # 0.6 x 100 + 0.4 x (213, 94, 0)
    assert (overlays.blend(grey, tumor, None)[1, 4] == rgb[5, 4]).all()


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
    for image in (overlays.render_planes(case), overlays.render_strip(case)):
        assert overlays.PAGE_WIDTH * 0.9 < image.width < overlays.PAGE_WIDTH * 1.01
        assert image.height > 50


def test_an_image_of_air_and_one_slice_can_be_shown():
    empty = np.zeros((1, 20, 20), np.uint8)
    case = Case(np.full(empty.shape, -1000.0), empty, None, (5.0, 1.0, 1.0))
    assert overlays.render_planes(case).width > 100
    assert overlays.render_strip(case).width > 100

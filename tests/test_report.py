import argparse
import json
import math
import re
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from nnunet_kits import geometry
from nnunet_kits.cli import report as verb
from nnunet_kits.errors import ImageError
from nnunet_kits.images import write_volume
from nnunet_kits.labels import Label
from nnunet_kits.reporting import overlays, page
from nnunet_kits.reporting.overlays import COLOURS, Case
from nnunet_kits.reporting.report import ReportCase, write_report
from nnunet_kits.reporting.scores import ScoreTable, labels_of, region_dice, volumes_ml

KITS_AFFINE = np.array([[0, 0, -1.0, 0], [0, -1, 0, 0], [-5, 0, 0, 0], [0, 0, 0, 1]])  # IPL, 5 x 1 x 1 mm
SHAPE = (12, 60, 80)


def case_arrays():
    """(ct, reference): a body with two kidneys, a tumour in the patient's right one, a cyst in the left one."""
    ct = np.full(SHAPE, -1000.0)
    ct[:, 5:55, 5:75] = -100
    reference = np.zeros(SHAPE, np.uint8)
    reference[2:10, 30:46, 14:30] = Label.KIDNEY
    reference[2:10, 30:46, 50:66] = Label.KIDNEY
    reference[5:9, 32:44, 14:26] = Label.TUMOR
    reference[3:5, 32:36, 60:64] = Label.CYST
    ct[reference > 0] = 160
    return ct, reference


def shown(prediction=None, with_reference=True):
    ct, reference = case_arrays()
    if prediction is None:
        prediction = reference
    return Case(ct, prediction, reference if with_reference else None, (5.0, 1.0, 1.0))


@pytest.fixture
def folders(tmp_path):
    """Images, predictions and references of three cases: perfect, without tumour, empty without a reference."""
    for name in ("images", "predictions", "references"):
        (tmp_path / name).mkdir()
    ct, reference = case_arrays()
    missed = np.where(reference == Label.TUMOR, Label.KIDNEY, reference).astype(np.uint8)
    predictions = {"case_00001": reference, "case_00002": missed, "case_00003": np.zeros_like(reference)}
    for name, prediction in predictions.items():
        write_volume(tmp_path / "images" / f"{name}_0000.nii.gz", ct.astype(np.float32), KITS_AFFINE)
        write_volume(tmp_path / "predictions" / f"{name}.nii.gz", prediction, KITS_AFFINE)
        if name != "case_00003":
            write_volume(tmp_path / "references" / f"{name}.nii.gz", reference, KITS_AFFINE)
    return tmp_path


def run_verb(folders, *more, references=True):
    parser = argparse.ArgumentParser()
    verb.add_verbs(parser.add_subparsers())
    arguments = ["report", "--images", str(folders / "images"), "--predictions", str(folders / "predictions")]
    arguments += ["--references", str(folders / "references")] if references else []
    options = parser.parse_args([*arguments, "-o", str(folders / "report.html"), *more])
    assert options.run(options) == 0
    return (folders / "report.html").read_text(encoding="utf-8")


# Geometry


@pytest.mark.parametrize("code", ["RAS", "LPS", "IPL", "ARS", "PIR", "SLA"])
def test_every_orientation_becomes_head_to_feet_front_to_back_right_to_left(code):
    ipl = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), KITS_AFFINE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(KITS_AFFINE), nib.orientations.axcodes2ornt(code))
    turned = ipl.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) == code
    array = np.asarray(turned.dataobj)
    assert (geometry.to_canonical(array, turned.affine) == np.asarray(ipl.dataobj)).all()
    assert geometry.canonical_spacing(turned.affine) == (5.0, 1.0, 1.0)


def test_an_oblique_volume_gets_the_closest_orientation():
    angle = math.radians(20)
    rotation = np.eye(4)
    rotation[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    array = np.arange(24).reshape(2, 3, 4)
    assert (geometry.to_canonical(array, rotation @ KITS_AFFINE) == array).all()
    assert geometry.canonical_spacing(rotation @ KITS_AFFINE) == pytest.approx((5, 1, 1))


def test_a_box_is_half_open_grows_in_millimetres_and_stops_at_the_border():
    mask = np.zeros((10, 20, 30), bool)
    assert geometry.bounding_box(mask) is None
    mask[2:4, 5:9, 29] = True
    box = geometry.bounding_box(mask)
    assert box == ((2, 4), (5, 9), (29, 30))
    assert geometry.crop(mask, box).shape == (2, 4, 1)
    assert geometry.grow_box(box, 10.0, (5.0, 2.0, 1.0), mask.shape) == ((0, 6), (0, 14), (19, 30))


def test_planes_are_cut_where_they_hold_most():
    mask = np.zeros((5, 6, 7), bool)
    mask[1:4, 2, 3] = True
    mask[2, 2:5, 3] = True
    assert geometry.fullest_point(mask) == (2, 2, 3)
    assert geometry.plane_through(mask, "axial", 2).sum() == 3
    assert geometry.plane_through(mask, "coronal", 2).shape == (5, 7)
    assert geometry.plane_through(mask, "sagittal", 3).shape == (5, 6)


# Scores


def test_dice_of_the_regions_by_hand():
    reference = np.array([[[1, 1, 2, 3, 0, 0]]])
    prediction = np.array([[[1, 0, 2, 2, 0, 0]]])
    assert region_dice(prediction, reference) == {"kidney_and_mass": 6 / 7, "mass": 1.0, "tumor": 2 / 3}


def test_dice_of_empty_and_empty_is_1_and_of_empty_and_something_0():
    empty, tumor = np.zeros((1, 1, 2)), np.array([[[2, 0]]])
    assert set(region_dice(empty, empty).values()) == {1.0}
    assert set(region_dice(empty, tumor).values()) == set(region_dice(tumor, empty).values()) == {0.0}


def test_without_a_cyst_label_there_is_no_mass_region():
    empty = np.zeros((1, 1, 2))
    assert list(region_dice(empty, empty, (Label.KIDNEY, Label.TUMOR))) == ["kidney_and_mass", "tumor"]


def test_dice_of_different_shapes_is_refused():
    with pytest.raises(ImageError, match=r"the prediction is \(1, 2, 3\) but the reference is \(3, 2, 1\) voxels"):
        region_dice(np.zeros((1, 2, 3)), np.zeros((3, 2, 1)))


def test_a_thousand_cubic_millimetres_are_a_millilitre():
    array = np.zeros((4, 10, 10), np.uint8)
    array[0] = Label.TUMOR
    assert volumes_ml(array, (5.0, 1.0, 2.0)) == {Label.KIDNEY: 0.0, Label.TUMOR: 1.0, Label.CYST: 0.0}


def test_the_mean_leaves_out_what_does_not_exist():
    rows = {"a": {"x": 0.9, "y": math.nan}, "b": {"x": 0.5, "y": 0.6}, "c": {"x": math.nan, "y": math.nan}}
    means = ScoreTable("Dice", ("x", "y", "z"), rows).mean()
    assert (means["x"], means["y"]) == (0.7, 0.6)
    assert math.isnan(means["z"])


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ({"labels": {"background": 0, "kidney": 1, "tumor": 2}}, (1, 2)),
        ({"labels": {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}}, (1, 2, 3)),
        ({"labels": {}}, (1, 2, 3)),
        ([], (1, 2, 3)),
        (None, (1, 2, 3)),
    ],
)
def test_the_labels_are_those_of_the_dataset_json_beside_the_predictions(content, labels, tmp_path):
    if content is not None:
        (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert labels_of(tmp_path) == labels


# Pictures


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


# The page


def test_the_report_holds_everything_in_one_file_and_asks_no_network(folders):
    text = run_verb(folders)
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,|#case-)', text) == []
    assert "url(" not in text
    assert "@import" not in text
    assert text.count("data:image/png;base64,") == 6
    assert text.endswith("</html>\n")


def test_the_table_has_the_worst_case_first_the_mean_and_the_volumes(folders):
    rows = re.findall(r"<tr.*?</tr>", run_verb(folders), re.S)
    cells = [re.sub(r"<[^>]+>", "|", row) for row in rows if "case_0000" in row or "mean of" in row]
    cells = [[cell for cell in row.split("|") if cell] for row in cells if "Without" not in row]
    assert cells == [
        ["mean of 2", "1.000", "0.550", "0.500"],
        ["case_00002", "1.000", "0.100", "0.000", "20.3", "17.4", "0.0", "2.9", "0.2", "0.2"],
        ["case_00001", "1.000", "1.000", "1.000", "17.4", "17.4", "2.9", "2.9", "0.2", "0.2"],
        ["case_00003", "–", "–", "–", "0.0", "–", "0.0", "–", "0.0", "–"],
    ]


def test_an_empty_prediction_and_a_missing_reference_are_said(folders):
    text = run_verb(folders)
    assert "The prediction is empty. There is no reference." in text
    assert '<th scope="row">Without reference</th><td>case_00003</td>' in text


def test_images_without_a_prediction_are_said(folders):
    (folders / "predictions" / "case_00002.nii.gz").unlink()
    assert '<th scope="row">Without prediction</th><td>case_00002</td>' in run_verb(folders)


def test_without_references_there_are_volumes_and_pictures_but_no_scores(folders, capsys):
    text = run_verb(folders, references=False)
    assert "Dice" not in text
    assert "20.3" in text
    assert "reference</span>" not in text
    assert capsys.readouterr().out == f"{folders / 'report.html'}\n"


def test_at_most_so_many_cases_are_shown_with_pictures_and_the_page_says_so(folders):
    text = run_verb(folders, "--pictures", "1")
    assert text.count("<article") == 1
    assert "The worst 1 of 3 cases are shown." in text
    assert 'href="#case-case_00002"' in text
    assert 'href="#case-case_00001"' not in text
    assert "<h2>Cases</h2>" not in run_verb(folders, "--pictures", "0")


def test_every_text_is_escaped_and_backticks_make_code(tmp_path):
    evil = "<script>alert(1)</script>"
    write_report(
        tmp_path / "r.html",
        title=evil,
        intro=f"{evil}\n\nsecond",
        facts=[(evil, evil)],
        scores=ScoreTable(evil, (evil,), {}),
        cases=[],
        next_steps=[evil, "run `a < b`"],
    )
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<p>second</p>" in text
    assert "<li>run <code>a &lt; b</code></li>" in text
    assert page.score_line({evil: 1.0}, evil).count("&lt;script&gt;") == 2


def test_curves_are_embedded_with_their_caption_and_other_files_are_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "progress.png")
    assert 'alt="Fold 0"' in page.picture_file("Fold 0", tmp_path / "progress.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
    with pytest.raises(ImageError, match=r"can hold PNG and JPEG pictures, not GIF. Convert it first"):
        page.picture_file("x", tmp_path / "a.gif")
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "none.png"):
        with pytest.raises(ImageError, match=r"cannot be read as a picture .* Leave it out or make it again"):
            page.picture_file("x", tmp_path / name)


def test_a_report_that_cannot_be_completed_leaves_the_old_one(folders):
    old = folders / "report.html"
    old.write_text("old")
    (folders / "images" / "case_00002_0000.nii.gz").write_bytes(b"")
    with pytest.raises(ImageError, match=r"case_00002_0000"):
        run_verb(folders)
    assert old.read_text() == "old"
    assert sorted(path.name for path in folders.iterdir()) == ["images", "predictions", "references", "report.html"]


def test_a_report_into_no_folder_or_over_a_folder_is_refused(tmp_path):
    nothing = {"title": "t", "intro": "", "facts": [], "scores": None, "cases": []}
    with pytest.raises(ImageError, match=r"there is no folder .*none. Make it"):
        write_report(tmp_path / "none" / "r.html", **nothing)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageError, match=r"cannot be written .* Choose another file for the report"):
        write_report(tmp_path / "folder", **nothing)


def test_files_on_different_grids_are_refused(folders):
    ct, reference = case_arrays()
    write_volume(folders / "images" / "case_00001_0000.nii.gz", ct[1:].astype(np.float32), KITS_AFFINE)
    with pytest.raises(
        ImageError, match=r"case_00001: the image is \(11, 60, 80\) but the label map is \(12, 60, 80\)"
    ):
        run_verb(folders)
    write_volume(folders / "references" / "case_00001.nii.gz", reference, KITS_AFFINE * 2)
    with pytest.raises(ImageError, match=r"case_00001: the affines of image and label map differ"):
        run_verb(folders)
    case = ReportCase(
        "case_00001",
        folders / "images" / "case_00001_0000.nii.gz",
        folders / "predictions" / "case_00001.nii.gz",
        folders / "references" / "case_00001.nii.gz",
    )
    with pytest.raises(ImageError, match=r"case_00001: the affines"):
        write_report(folders / "r.html", title="t", intro="", facts=[], scores=None, cases=[case])


def test_missing_folders_and_images_are_refused_with_what_to_do(folders):
    (folders / "images" / "case_00002_0000.nii.gz").unlink()
    with pytest.raises(ImageError, match=r"case_00002: its CT .* is missing. Name the folder that was predicted from"):
        run_verb(folders)
    for path in (folders / "predictions").iterdir():
        path.unlink()
    with pytest.raises(ImageError, match=r"holds no .nii.gz file. Name the folder that nnUNetv2_predict wrote"):
        run_verb(folders)
    (folders / "predictions").rmdir()
    with pytest.raises(ImageError, match=r"predictions: no such folder. Name the folder that nnUNetv2_predict wrote"):
        run_verb(folders)


def test_a_browser_renders_the_page_with_the_overlays(folders, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    run_verb(folders)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,2400"]
    command += [f"--screenshot={tmp_path / 'page.png'}", (folders / "report.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    rgb = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert (rgb[:40] == 255).mean() > 0.9  # a white page
    assert (rgb[:, :20] == 255).mean() > 0.99  # with a margin, nothing wider than the window
    assert (rgb[:, -20:] == 255).mean() > 0.99
    for label in (Label.KIDNEY, Label.TUMOR, Label.CYST):  # the outlines, pure in colour
        assert (rgb == COLOURS[label]).all(axis=2).sum() > 200, label

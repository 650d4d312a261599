"""``nnunet_kits report``: the page, and what it reads of a training."""

import argparse
import base64
import fnmatch
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from small_report import KITS_AFFINE, case_arrays, write_model

from nnunet_kits.cli import report as verb
from nnunet_kits.cli.lines import shown
from nnunet_kits.cli.report import run as run_report
from nnunet_kits.errors import ImageError, KitsError
from nnunet_kits.evaluation import evaluate_folder
from nnunet_kits.images import write_volume
from nnunet_kits.labels import Label
from nnunet_kits.measurement import measure_files
from nnunet_kits.palette import LABEL_COLOURS
from nnunet_kits.reporting import page, study
from nnunet_kits.reporting.report import write_report
from nnunet_kits.reporting.study import ReportCase, year_of
from nnunet_kits.reporting.trained_model import TrainedModel, read_model
from nnunet_kits.status.training_log import History, read_history


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
    verb.add_verb(parser.add_subparsers())
    arguments = ["report", "--images", str(folders / "images"), "--predictions", str(folders / "predictions")]
    arguments += ["--references", str(folders / "references")] if references else []
    options = parser.parse_args([*arguments, "-o", str(folders / "report.html"), *more])
    with shown(argparse.Namespace(verbose=False, quiet=False)):
        assert options.run(options).code == 0
    return (folders / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path)


# The year, the training


@pytest.mark.parametrize(
    ("content", "year"),
    [
        ({"labels": {"background": 0, "kidney": 1, "tumor": 2}}, "19"),
        ({"labels": {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}}, "23"),
        ({"labels": {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}, "release": "KiTS21"}, "21"),
        ([], "23"),
        (None, "23"),
    ],
)
def test_the_year_is_that_of_the_dataset_json_beside_the_predictions(content, year, tmp_path):
    if content is not None:
        (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert year_of(tmp_path) == year


def test_a_folds_epochs_are_read_from_all_its_logs_and_the_last_one_counts(model):
    history = read_history(model / "fold_0")
    assert history.train_loss == {0: 0.3826, 1: -0.1}
    assert history.val_loss == {0: 0.253, 1: 0.1}
    assert history.pseudo_dice == pytest.approx({0: 0.3, 1: 0.6})


def test_a_model_is_named_with_its_checkpoints_hash_and_epochs(model):
    found = read_model(model)
    digest = hashlib.sha256(b"weights").hexdigest()[:16]
    assert found.facts == [
        ("Model 3d_lowres", "`ResUNetTrainer`, plans `KiTSDemoPlans`, Dataset220_KiTS2023"),
        ("3d_lowres, fold 0", f"`checkpoint_final.pth`, SHA-256 `{digest}`, 2 epochs"),
        ("3d_lowres, fold 1", "no checkpoint"),
    ]
    assert list(found.histories) == ["0"]
    with pytest.raises(KitsError, match=r"fold_0: not the folder of a model. Name one like"):
        read_model(model / "fold_0")
    for content in (b'{"cut', b"[1]", b"\xff"):
        (model / "plans.json").write_bytes(content)
        with pytest.raises(KitsError, match=r"plans.json: cannot be read. Copy it from nnUNet_preprocessed again"):
            read_model(model)


# The page


def evaluate_two(folders):
    """What ``evaluate`` gives for the two cases that have a reference."""
    two = folders / "two"
    two.mkdir()
    for name in ("case_00001", "case_00002"):
        shutil.copy(folders / "predictions" / f"{name}.nii.gz", two)
    return evaluate_folder(two, folders / "references", "23", folders / "scores")


def test_another_system_is_compared_by_case_and_the_table_says_what_few_cases_cannot_show(folders):
    other = evaluate_two(folders)
    worse = folders / "two" / "case_00001.nii.gz"
    shutil.copy(folders / "predictions" / "case_00002.nii.gz", worse)
    other = evaluate_folder(folders / "two", folders / "references", "23", folders / "scores")
    text = run_verb(folders, "--compare", str(folders / "scores" / "metrics.json"))
    rows = {row[0]: row[1:] for row in rows_of(text, "Comparison")}
    first = other["mean"]["dice"]["tumor"]
    assert rows["Dice_tumor"][:3] == [f"{first:.3f}", f"{first + 0.5:.3f}", "+0.5000"]
    assert rows["Dice_tumor"][3:] == ["too few", "1", "1", "1 / 1 / 0"]
    assert rows["all"] == ["2", "0", "1", "0", "1", "1", "1"]
    assert "over the 2 cases that both were scored on" in text
    assert "2 cases are too few for the bootstrap" in text
    assert "Dice_tumor: second less first, by tumor volume" in text
    assert "<h2>Comparison</h2>" not in run_verb(folders)


def test_a_comparison_needs_scores_of_the_same_references(folders):
    evaluate_two(folders)
    scores = folders / "scores" / "metrics.json"
    for more, references, said in (
        (["--compare", str(scores)], False, "--compare needs the scores of these predictions: name --references"),
        (["--compare", str(folders)], True, r"there is no .*metrics\.json\. nnunet_kits evaluate writes it"),
        (["--compare", str(scores), "--year", "21"], True, "were scored by different rules: KiTS23"),
    ):
        with pytest.raises(KitsError, match=said):
            run_verb(folders, *more, references=references)


class Elements(HTMLParser):
    """Names of all elements and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def rows_of(text, heading):
    """Cells of the table in the section with this heading, a list each row."""
    (section,) = re.findall(rf"<section>\n<h2>{heading}</h2>(.*?)</section>", text, re.S)
    rows = re.findall(r"<tr.*?</tr>", section, re.S)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)] for row in rows]


def charts_of(text):
    """The SVG files that the page holds."""
    found = re.findall(r'"data:image/svg\+xml;base64,([^"]*)"', text)
    return [base64.b64decode(chart).decode("utf-8") for chart in found]


def test_the_report_holds_everything_in_one_file_and_asks_no_network(folders, model):
    text = run_verb(folders, "--model", str(model))
    assert re.findall(r'(?:src|href)="(?!data:image/(?:png|jpeg|svg\+xml);base64,|#case-)', text) == []
    assert "url(" not in text
    assert "@import" not in text
    scripts = re.findall(r"<script([^>]*)>", text)
    data = ['type="application/octet-stream" class="hu"', 'type="application/octet-stream" class="labels"']
    assert [script.strip() for script in scripts] == [*data * 3, ""]  # the slices of each case, and the viewer
    assert text.count("data:image/png;base64,") == 3 * 3  # the planes of each case
    for chart in charts_of(text):
        assert set(re.findall(r'(?:href|src)="([^"])|url\((.)', chart)) <= {("#", ""), ("", "#")}
    assert text.endswith("</html>\n")


def test_the_scores_are_those_of_evaluate_with_the_worst_case_first(folders, capsys):
    text = run_verb(folders)
    said = capsys.readouterr().out
    expected = evaluate_two(folders)
    rows = rows_of(text, "Scores")
    kinds = ("dice", "surface_dice")
    for case in ("case_00001", "case_00002"):
        scores = expected["cases"][case]
        numbers = [f"{value:.3f}" for kind in kinds for value in scores[kind].values()]
        assert [case, *numbers] in rows
    assert [row[0] for row in rows[2:]] == ["mean of 2", "case_00002", "case_00001", "case_00003"]
    assert rows[-1] == ["case_00003", *["–"] * 6]
    assert rows[3][1:4] == ["1.000", "0.100", "0.000"]
    assert "mean Dice: kidney_and_mass 1.000, mass 0.550, tumor 0.500" in said


def test_the_sizes_are_those_of_measure(folders):
    rows = rows_of(run_verb(folders), "Sizes")
    measured, failed = measure_files(folders / "predictions", folders / "measures")
    assert failed == {}
    row = next(row for row in rows if row[0] == "case_00001")
    kidneys = {m.side: m for m in measured["case_00001"].structures if m.structure == "kidney_and_mass"}
    (tumor,) = (m for m in measured["case_00001"].structures if m.structure == "tumor")
    assert row[1] == row[2] == f"{kidneys['right'].volume_ml:.0f}"
    assert row[3] == row[4] == f"{kidneys['left'].volume_ml:.0f}"
    assert row[5:9] == ["1", "1", *[f"{tumor.axial_diameter_cm:.1f}"] * 2]
    missed = next(row for row in rows if row[0] == "case_00002")
    assert missed[5:9] == ["0", "1", "–", f"{tumor.axial_diameter_cm:.1f}"]


def test_each_case_has_its_measures_with_the_mean_hu(folders):
    text = run_verb(folders, "--pictures", "1")
    (article,) = re.findall(r"<article.*?</article>", text, re.S)
    assert "Tumors of the reference: 1, 0 detected. False tumors: 0." in article
    cells = re.sub(r"<[^>]+>", "|", article)
    assert "160 ± 0" in cells
    assert "|tumor 1|" in cells


def test_the_ct_its_slices_and_its_spacing_are_stated_with_each_case(folders):
    text = run_verb(folders, "--pictures", "1")
    assert (
        "CT <code>case_00002_0000.nii.gz</code>: 12 axial slices, 5.00 mm apart, of 60 × 80 voxels of 1.00 × 1.00 mm."
        in text
    )


def test_a_lesion_too_small_for_the_decimals_is_listed_and_not_as_nothing(folders):
    _, reference = case_arrays()
    reference[11, 20, 70] = Label.CYST  # 0.005 mL
    write_volume(folders / "predictions" / "case_00001.nii.gz", reference, KITS_AFFINE)
    (row,) = re.findall(r"<tr[^>]*><th scope=\"row\">cyst 2</th>.*</tr>", run_verb(folders))
    assert re.findall(r"<td[^>]*>([^<]*)", row)[1] == "&lt; 0.1"


def test_remarks_and_the_agreement_of_folds_stand_in_a_table_of_checks(folders):
    text = run_verb(folders)
    rows = {row[0]: row[1:] for row in rows_of(text, "Checks")}
    assert "case_00003" not in rows  # nothing is labelled
    (remarks,) = rows["case_00001"]
    assert remarks.startswith("the right kidney&#39;s volume without masses, 7 mL, is outside 70 to 270")
    agreement = {
        "model": "m",
        "of": "folds",
        "members": ["fold 0", "fold 1"],
        "labels": {"tumor": {"volume_ml": [3.0, 1.0], "dice": [[1.0, 0.5], [0.5, 1.0]]}},
    }
    record = folders / "predictions" / "prediction.json"
    record.write_text(json.dumps({"cases": {"case_00001": {"agreement": [agreement]}, "case_00002": {}}}))
    text = run_verb(folders)
    rows = {row[0]: row[1:] for row in rows_of(text, "Checks")}
    assert rows["case_00001"][1] == "2 folds: tumor 1.0 to 3.0 mL, Dice 0.50 or more"
    assert rows["case_00002"][1] == "–"
    record.write_text(json.dumps({"cases": {"case_00001": {"agreement": [{"members": 3}]}}}))
    with pytest.raises(ImageError, match=r"prediction.json: what it says of the agreement in case_00001 cannot"):
        run_verb(folders)


def test_every_label_map_is_measured_once(folders, monkeypatch):
    measured = []
    measure = study.measure_labels
    monkeypatch.setattr(study, "measure_labels", lambda *given: measured.append(1) or measure(*given))
    run_verb(folders)
    assert len(measured) == 3 + 2


def test_the_template_and_the_style_sheet_are_installed_with_the_package():
    files = {path.name for path in Path(page.__file__).parent.iterdir() if path.suffix not in (".py", "")}
    assert files == {"report.html.jinja", "style.css", "viewer.css", "viewer.js"}
    setup = (Path(__file__).parents[1] / "setup.py").read_text(encoding="utf-8")
    patterns = re.findall(r'"reporting/([^"]+)"', setup)
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in patterns) for name in files)


def test_an_empty_prediction_and_a_missing_reference_are_said(folders):
    text = run_verb(folders)
    assert "There is no reference. The prediction is empty." in text
    assert '<th scope="row">Without reference</th><td>case_00003</td>' in text


def test_images_without_a_prediction_are_said(folders):
    (folders / "predictions" / "case_00002.nii.gz").unlink()
    assert '<th scope="row">Without prediction</th><td>case_00002</td>' in run_verb(folders)


def test_without_references_there_are_sizes_and_pictures_but_no_scores(folders, capsys):
    text = run_verb(folders, references=False)
    assert "<h2>Scores</h2>" not in text
    assert [row[:2] for row in rows_of(text, "Sizes")][1:] == [
        ["case_00001", "10"],
        ["case_00002", "10"],
        ["case_00003", "–"],
    ]
    assert "outlined: reference" not in text
    assert capsys.readouterr().out.endswith(f"\n{folders / 'report.html'}\n")


def test_one_case_can_be_given_by_its_files(folders):
    one = folders / "predictions" / "case_00002.nii.gz"
    parser = argparse.ArgumentParser()
    verb.add_verb(parser.add_subparsers())
    files = ["--images", str(folders / "images" / "case_00002_0000.nii.gz"), "--predictions", str(one)]
    files += ["--references", str(folders / "references" / "case_00002.nii.gz"), "-o", str(folders / "one.html")]
    options = parser.parse_args(["report", *files])
    with shown(argparse.Namespace(verbose=False, quiet=False)):
        assert options.run(options).code == 0
    rows = rows_of((folders / "one.html").read_text(encoding="utf-8"), "Scores")
    assert rows[-1][:4] == ["case_00002", "1.000", "0.100", "0.000"]


def test_at_most_so_many_cases_are_shown_with_pictures_and_the_page_says_so(folders):
    text = run_verb(folders, "--pictures", "1")
    assert text.count("<article") == 1
    assert "The worst 1 of 3 cases are shown." in text
    assert 'href="#case-case_00002"' in text
    assert 'href="#case-case_00001"' not in text
    assert "<h2>Cases</h2>" not in run_verb(folders, "--pictures", "0")


def test_training_curves_and_what_was_run_are_shown(folders, model):
    text = run_verb(folders, "--model", str(model))
    assert len(charts_of(text)) == 4  # two box plots, loss, pseudo Dice
    assert "Loss: training solid, validation dashed" in text
    facts = dict(rows_of(text, "What was run"))
    assert facts["Model 3d_lowres"] == "ResUNetTrainer, plans KiTSDemoPlans, Dataset220_KiTS2023"
    assert f"nnunetv2 {version('nnunetv2')}" in facts["Versions"]
    assert facts["References"].endswith("scored as KiTS23")


def test_pictures_alone_are_png_files(folders, capsys):
    parser = argparse.ArgumentParser()
    verb.add_verb(parser.add_subparsers())
    sources = ["--images", str(folders / "images"), "--predictions", str(folders / "predictions")]
    options = parser.parse_args(["report", *sources, "--png", str(folders / "png")])
    with shown(argparse.Namespace(verbose=False, quiet=False)):
        assert options.run(options).code == 0
    names = sorted(path.name for path in (folders / "png").iterdir())
    assert names == [f"case_0000{n}_{kind}.png" for n in (1, 2, 3) for kind in ("planes", "slices")]
    with Image.open(folders / "png" / names[0]) as image:
        assert image.width > 1000
    nothing = parser.parse_args(["report", *sources])
    with pytest.raises(KitsError, match=r"Nothing to write. Name the HTML file with -o"):
        run_report(nothing)


def test_two_processes_write_the_same(folders):
    def without_time(text):
        return re.sub(r"\d\d:\d\d\. Research", "", text)

    assert without_time(run_verb(folders, "-np", "2")) == without_time(run_verb(folders))


def test_every_text_is_escaped_and_backticks_make_code(tmp_path):
    evil = "<script>alert(1)</script>"
    write_report(tmp_path / "r.html", title=evil, intro=f"{evil}\n\nsecond `a < b`", facts=[(evil, evil)], cases=[])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<p>second <code>a &lt; b</code></p>" in text


def test_names_of_cases_folds_and_models_cannot_leave_their_place_in_the_page(tmp_path):
    evil = """x" onerror='alert(1)' <b>&`y`"""
    ct, reference = case_arrays()
    files = [tmp_path / f"{evil}_0000.nii.gz", tmp_path / f"{evil}.nii.gz"]
    write_volume(files[0], ct.astype(np.float32), KITS_AFFINE)
    write_volume(files[1], reference, KITS_AFFINE)
    model = TrainedModel(evil, {evil: History({0: 1.0, 1: 0.5}, {0: 1.0}, {0: 0.1})}, [(evil, evil)])
    case = ReportCase(evil, files[0], files[1], files[1])
    write_report(tmp_path / "r.html", title=evil, intro=evil, facts=[(evil, evil)], cases=[case], models=[model])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    seen = Elements(text)
    assert "img" in seen.tags
    assert "b" not in seen.tags
    assert "onerror" not in seen.attributes
    for chart in charts_of(text):
        assert "<b>" not in chart


def test_a_report_that_cannot_be_completed_leaves_the_old_one(folders):
    old = folders / "report.html"
    old.write_text("old")
    (folders / "images" / "case_00002_0000.nii.gz").write_bytes(b"")
    with pytest.raises(ImageError, match=r"case_00002_0000"):
        run_verb(folders)
    assert old.read_text() == "old"
    assert not list(folders.glob(".*"))


def test_a_report_into_no_folder_or_over_a_folder_is_refused(tmp_path):
    nothing = {"title": "t", "intro": "", "cases": []}
    with pytest.raises(ImageError, match=r"there is no folder .*none. Make it"):
        write_report(tmp_path / "none" / "r.html", **nothing)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageError, match=r"cannot be written .* Choose another file for the report"):
        write_report(tmp_path / "folder", **nothing)


def test_a_ct_that_does_not_say_which_side_is_right_is_refused(folders):
    for file in (folders / "images" / "case_00001_0000.nii.gz", folders / "predictions" / "case_00001.nii.gz"):
        image = nib.Nifti1Image(np.asanyarray(nib.load(file).dataobj), KITS_AFFINE)
        image.set_sform(None, 0)
        image.set_qform(None, 0)
        nib.save(image, file)
    case = ReportCase(
        "case_00001", *(folders / name for name in ("images/case_00001_0000.nii.gz", "predictions/case_00001.nii.gz"))
    )
    with pytest.raises(ImageError, match=r"case_00001_0000.nii.gz: neither sform nor qform is set, so nothing tells"):
        write_report(folders / "r.html", title="t", intro="", cases=[case])


def test_files_on_different_grids_are_refused(folders):
    ct, reference = case_arrays()
    write_volume(folders / "images" / "case_00001_0000.nii.gz", ct[1:].astype(np.float32), KITS_AFFINE)
    with pytest.raises(
        ImageError, match=r"case_00001: the image is \(11, 60, 80\) but the label map is \(12, 60, 80\)"
    ):
        run_verb(folders)
    write_volume(folders / "references" / "case_00001.nii.gz", reference, KITS_AFFINE * 2)
    with pytest.raises(KitsError, match=r"case_00001: the affines of the prediction and of the reference"):
        run_verb(folders)
    case = ReportCase(
        "case_00001",
        folders / "images" / "case_00001_0000.nii.gz",
        folders / "predictions" / "case_00001.nii.gz",
        folders / "references" / "case_00001.nii.gz",
    )
    with pytest.raises(KitsError, match=r"case_00001: the affines"):
        write_report(folders / "r.html", title="t", intro="", cases=[case])


def test_missing_folders_and_images_are_refused_with_what_to_do(folders):
    (folders / "images" / "case_00002_0000.nii.gz").unlink()
    with pytest.raises(KitsError, match=r"no CT of case_00002, neither .* Name the folder that holds it with --images"):
        run_verb(folders)
    for path in (folders / "predictions").iterdir():
        path.unlink()
    with pytest.raises(KitsError, match=r"predictions: holds no .* Name a label map, a folder of label maps"):
        run_verb(folders)
    (folders / "predictions").rmdir()
    with pytest.raises(KitsError, match=r"predictions: no such file or folder. Name what nnUNetv2_predict wrote"):
        run_verb(folders)


def look_at(page_file, folder, width):
    """RGB of a page as a browser shows it in a window of this width."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},2400"]
    command += [f"--screenshot={folder / 'page.png'}", page_file.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return np.asarray(Image.open(folder / "page.png").convert("RGB"))


def test_a_browser_renders_the_page_with_the_overlays(folders, tmp_path):
    run_verb(folders)
    rgb = look_at(folders / "report.html", tmp_path, 1300)
    assert (rgb[:40] == 255).mean() > 0.9  # a white page
    assert (rgb[:, :20] == 255).mean() > 0.99  # with a margin, nothing wider than the window
    assert (rgb[:, -20:] == 255).mean() > 0.99
    for label in (Label.KIDNEY, Label.TUMOR, Label.CYST):  # the outlines, pure in colour
        assert (rgb == LABEL_COLOURS[label]).all(axis=2).sum() > 200, label


def test_on_a_phone_nothing_is_wider_than_the_window(folders, tmp_path):
    run_verb(folders)
    rgb = look_at(folders / "report.html", tmp_path, 390)
    assert rgb.shape[1] == 390
    assert (rgb[:, :10] == 255).all()
    assert (rgb[:, -10:] == 255).all()

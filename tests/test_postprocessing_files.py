"""``nnunet_kits postprocess`` on folders, beside nnU-Net's own commands, and its choice of a chain."""

import json

import nibabel as nib
import numpy as np
import pytest
from kits_trees import IPL, save

from nnunet_kits.cases.parallel import run_all
from nnunet_kits.cli.main import main
from nnunet_kits.errors import ImageError, KitsError, PostprocessingError
from nnunet_kits.evaluation import evaluate_folder
from nnunet_kits.postprocessing import load_chain, postprocess_folder
from nnunet_kits.postprocessing.choice import choose_chain
from nnunet_kits.postprocessing.determine import determine_postprocessing, find_folds
from nnunet_kits.postprocessing.operations import keep_largest
from nnunet_kits.releases import RELEASES

SHAPE = (12, 20, 40)  # voxels of 3.3 mm3


def truth():
    """Two kidneys, one with a tumour."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:10, 4:14, 3:12] = 1
    labels[2:10, 4:14, 28:37] = 1
    labels[4:7, 5:9, 5:9] = 2
    return labels


def with_specks():
    """The same with a false kidney and a loose tumour between them."""
    labels = truth()
    labels[1:3, 16:19, 18:22] = 1
    labels[5, 9, 20] = 2
    return labels


def voxels(file):
    return np.asarray(nib.load(file).dataobj)


@pytest.fixture
def predicted(tmp_path):
    """Predictions of three cases, the last one flawless, with nnU-Net's files."""
    for number, labels in enumerate((with_specks(), with_specks(), truth())):
        save(tmp_path / "pred" / f"case_{number:05d}.nii.gz", labels)
    labels = {"background": 0, "kidney": 1, "tumor": 2}
    dataset = {"labels": labels, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "numTraining": 3}
    (tmp_path / "pred" / "dataset.json").write_text(json.dumps(dataset))
    plans = {"plans_name": "p", "image_reader_writer": "NibabelIO", "label_manager": "LabelManager"}
    (tmp_path / "pred" / "plans.json").write_text(json.dumps({**plans, "configurations": {}}))
    return tmp_path


def test_a_folder_is_cleaned_recorded_and_gets_nnunets_files(predicted, capsys):
    pred, out = predicted / "pred", predicted / "out"
    assert main(["postprocess", str(pred), str(out), "--chain", "two_kidneys"]) == 0
    for number in range(3):
        assert np.array_equal(voxels(out / f"case_{number:05d}.nii.gz"), truth())
    for name in ("dataset.json", "plans.json", "case_00002.nii.gz"):  # the last needs no change
        assert (out / name).read_bytes() == (pred / name).read_bytes()
    record = json.loads((out / "postprocess.json").read_text())
    assert (record["chain"], record["steps"]) == ("two_kidneys", load_chain("two_kidneys").as_json()["steps"])
    voxel_ml = 5 * 0.75 * 0.875 / 1000
    (step,) = record["cases"]["case_00000"]["steps"]
    assert step["changed_ml"] == pytest.approx({"kidney": -24 * voxel_ml, "tumor": -voxel_ml}, abs=1e-6)
    assert record["cases"]["case_00002"]["steps"][0]["changed_ml"] == {}
    assert "case_00002: unchanged" in capsys.readouterr().out
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_grid_and_dtype_stay(tmp_path, dtype, ending):
    oblique = IPL.copy()
    oblique[:3, :3] = IPL[:3, :3] @ np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    oblique[:3, 3] = (1, -2, 3)
    save(tmp_path / "pred" / f"a{ending}", with_specks().astype(dtype), oblique)
    assert postprocess_folder(tmp_path / "pred", tmp_path / "out", load_chain("two_kidneys")) == {}
    before, after = (nib.load(tmp_path / name / f"a{ending}") for name in ("pred", "out"))
    assert after.get_data_dtype() == before.get_data_dtype() == dtype
    assert np.allclose(after.affine, before.affine, atol=1e-5)
    assert np.array_equal(np.asarray(after.dataobj), truth())


def test_two_processes_write_the_same(predicted):
    for workers in (1, 2):
        assert postprocess_folder(predicted / "pred", predicted / f"out{workers}", load_chain("clean"), workers) == {}
    for file in (predicted / "out1").glob("*.nii.gz"):
        assert np.array_equal(voxels(file), voxels(predicted / "out2" / file.name))


def test_a_second_run_does_only_what_is_new_and_another_chain_needs_overwrite(predicted, caplog):
    pred, out, chain = predicted / "pred", predicted / "out", load_chain("two_kidneys")
    postprocess_folder(pred, out, chain)
    save(pred / "case_00001.nii.gz", truth())
    (out / "case_00002.nii.gz").unlink()
    caplog.set_level("INFO", "nnunet_kits")
    postprocess_folder(pred, out, chain)
    assert caplog.messages[0] == "1 of 3 were postprocessed before; --overwrite does them again."
    assert [line.split(":")[0] for line in caplog.messages[1:]] == ["case_00001", "case_00002"]
    with pytest.raises(
        PostprocessingError, match=r"made with the chain two_kidneys, and this is fill_holes. Give another"
    ):
        postprocess_folder(pred, out, load_chain("fill_holes"))
    assert postprocess_folder(pred, out, load_chain("fill_holes"), overwrite=True) == {}
    assert np.array_equal(voxels(out / "case_00000.nii.gz"), with_specks())


def test_a_damaged_file_and_a_foreign_label_are_named_and_the_others_are_done(predicted, capsys):
    pred, out = predicted / "pred", predicted / "out"
    (pred / "case_00000.nii.gz").write_bytes((pred / "case_00000.nii.gz").read_bytes()[:-30])
    save(pred / "case_00001.nii.gz", truth() * 5)
    assert main(["postprocess", str(pred), str(out), "--chain", "two_kidneys"]) == 2
    told = capsys.readouterr().err
    assert "case_00000.nii.gz: the gzip file is" in told
    assert "case_00001.nii.gz holds the value 5, but its labels are 0, 1, 2, 3" in told
    assert [file.name for file in out.glob("*.nii.gz")] == ["case_00002.nii.gz"]
    save(pred / "case_00000.nii.gz", with_specks())
    save(pred / "case_00001.nii.gz", with_specks())
    assert postprocess_folder(pred, out, load_chain("two_kidneys")) == {}
    assert np.array_equal(voxels(out / "case_00000.nii.gz"), truth())


def test_a_label_map_without_orientation_gets_none_and_is_named(predicted):
    image = nib.Nifti1Image(with_specks(), IPL)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, predicted / "pred" / "case_00001.nii.gz")
    failed = postprocess_folder(predicted / "pred", predicted / "out", load_chain("two_kidneys"))
    assert list(failed) == ["case_00001"]
    assert "case_00001.nii.gz: neither sform nor qform is set" in failed["case_00001"]
    assert not (predicted / "out" / "case_00001.nii.gz").exists()


def test_a_label_map_that_needs_more_memory_than_is_free_is_named_and_the_others_are_done(predicted, monkeypatch):
    save(predicted / "pred" / "case_00001.nii.gz", np.ones((60, 60, 60), np.uint8))
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: 1_000_000)
    failed = postprocess_folder(predicted / "pred", predicted / "out", load_chain("two_kidneys"))
    assert list(failed) == ["case_00001"]
    assert "case_00001.nii.gz: postprocessing it needs about" in failed["case_00001"]
    assert sorted(file.name for file in (predicted / "out").glob("case_*")) == [
        "case_00000.nii.gz",
        "case_00002.nii.gz",
    ]


def test_predictions_are_never_written_over(predicted):
    with pytest.raises(PostprocessingError, match="is where the predictions are, which would be lost"):
        postprocess_folder(predicted / "pred", predicted / "out" / ".." / "pred", load_chain("clean"))
    with pytest.raises(ImageError, match=r"nothing: no such file or folder"):
        postprocess_folder(predicted / "nothing", predicted / "out", load_chain("clean"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a", "b"], "Name a chain with --chain"),
        (["a", "b", "--chain", "clean", "--determine"], "Name a chain with --chain"),
        (["a", "--chain", "clean"], "Name the folder of label maps and the folder for the new ones"),
        (["--determine"], "Name PRED and OUT to apply the chosen chain, or with --record where to write it"),
        (["a", "--determine", "--record", "b"], "Name PRED and OUT"),
        (["a", "b", "--determine"], "--determine needs --predictions, --references, --year too"),
        (["a", "b", "--chain", "none"], "there is no chain 'none'"),
    ],
)
def test_what_is_missing_on_the_command_line_is_said(words, reason, capsys):
    assert main(["postprocess", *words]) == 2
    assert reason in capsys.readouterr().err


def test_the_shipped_chains_are_listed(capsys):
    assert main(["postprocess", "--list"]) == 0
    assert "two_kidneys        Keep the two largest" in capsys.readouterr().out


@pytest.mark.slow
def test_nnunets_own_postprocessing_works_on_the_new_folder_and_does_what_ours_does(predicted):
    remove = pytest.importorskip("nnunetv2.postprocessing.remove_connected_components")
    out, theirs = predicted / "out", predicted / "theirs"
    postprocess_folder(predicted / "pred", out, load_chain("fill_holes"))
    function = remove.remove_all_but_largest_component_from_segmentation
    remove.apply_postprocessing_to_folder(
        str(out), str(theirs), [function], [{"labels_or_regions": (1, 2)}], None, None, 1
    )
    for number in range(3):
        name = f"case_{number:05d}.nii.gz"
        expected = keep_largest(voxels(out / name), 1.0, region="kidney_and_mass", replace_with="background")
        assert np.array_equal(voxels(theirs / name), expected)


# choosing a chain


@pytest.fixture
def folds(tmp_path):
    """A model's folder with three folds of two cases each, and the references."""
    for number in range(6):
        case = f"case_{number:05d}.nii.gz"
        save(tmp_path / "model" / f"fold_{number // 2}" / "validation" / case, with_specks() if number % 2 else truth())
        save(tmp_path / "ref" / case, truth())
    return tmp_path


def third_piece(folder):
    """Make a case of the last fold one that two_kidneys harms: there truly is a third piece, far away."""
    labels = truth()
    labels[11, :2, 38:] = 1
    for file in (folder / "model/fold_2/validation/case_00005.nii.gz", folder / "ref" / "case_00005.nii.gz"):
        save(file, labels)


def test_the_chain_that_helps_every_fold_is_chosen_and_why_is_recorded(folds, capsys):
    words = ["--predictions", folds / "model", "--references", folds / "ref", "--year", "23"]
    words += ["--record", folds / "chosen", "--chains", "two_kidneys", "fill_holes"]
    assert main(["postprocess", "--determine", *map(str, words)]) == 0
    assert "chosen: two_kidneys" in capsys.readouterr().out
    chosen = load_chain(str(folds / "chosen" / "chain.json"))
    assert chosen.steps == load_chain("two_kidneys").steps
    record = json.loads((folds / "chosen" / "determined.json").read_text())
    assert record["chosen"] == "two_kidneys"
    assert record["candidates"]["two_kidneys"]["verdict"] == "raises the mean of every fold"
    assert record["candidates"]["fill_holes"]["verdict"] == "does not raise the mean of fold_0, fold_1, fold_2"
    assert record["folds"]["fold_1"] == ["case_00002", "case_00003"]
    assert not list((folds / "chosen").glob(".*"))
    for fold in range(3):
        name = f"fold_{fold}"
        validation, cleaned = folds / "model" / name / "validation", folds / "cleaned" / name
        postprocess_folder(validation, cleaned, chosen)
        for folder, kept in (
            (validation, record["before"]),
            (cleaned, record["candidates"]["two_kidneys"]["after"]),
        ):
            mean = evaluate_folder(folder, folds / "ref", "23", folds / "scores", partly=True)["mean"]
            expected = [*mean["dice"].values(), *mean["surface_dice"].values()]
            assert kept["folds"][name]["mean"] == pytest.approx(np.mean(expected))
            assert kept["folds"][name]["dice_tumor"] == pytest.approx(mean["dice"]["tumor"])


def test_a_chain_that_harms_one_fold_is_not_chosen_and_nothing_is_applied_in_its_place(folds, capsys):
    third_piece(folds)
    words = [folds / "model/fold_0/validation", folds / "out", "--determine", "--predictions", folds / "model"]
    words += ["--references", folds / "ref", "--year", "23", "--chains", "two_kidneys", "--record", folds / "record"]
    assert main(["postprocess", *map(str, words)]) == 0
    assert "chosen: none" in capsys.readouterr().out
    record = json.loads((folds / "record" / "determined.json").read_text())
    assert record["chosen"] is None
    assert record["candidates"]["two_kidneys"]["gain"] > 0
    assert record["candidates"]["two_kidneys"]["gain_by_fold"]["fold_2"] < 0
    assert record["candidates"]["two_kidneys"]["verdict"] == "does not raise the mean of fold_2"
    assert load_chain(str(folds / "record" / "chain.json")).steps == ()
    assert np.array_equal(voxels(folds / "out" / "case_00001.nii.gz"), with_specks())


def test_a_stopped_choice_goes_on_and_gives_the_same(folds, monkeypatch, caplog):
    places = [folds / "model"], folds / "ref", "23"
    expected = determine_postprocessing(*places, folds / "whole")
    original = run_all

    def stopped(function, tasks, workers):
        for number, item in enumerate(original(function, tasks, workers)):
            if number == 4:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr("nnunet_kits.postprocessing.determine.run_all", stopped)
    with pytest.raises(KeyboardInterrupt):
        determine_postprocessing(*places, folds / "out")
    monkeypatch.setattr("nnunet_kits.postprocessing.determine.run_all", original)
    caplog.set_level("INFO", "nnunet_kits")
    assert determine_postprocessing(*places, folds / "out") == expected
    assert caplog.messages[0] == "4 of 6 cases were scored before"
    assert [line.split(":")[0] for line in caplog.messages[1:]] == ["5 of 6", "6 of 6"]


def test_one_folder_of_all_folds_is_divided_by_nnunets_splits(folds, tmp_path):
    merged = tmp_path / "crossval"
    for file in (folds / "model").rglob("*.nii.gz"):
        save(merged / file.name, voxels(file))
    splits = tmp_path / "splits_final.json"
    val = [[f"case_{n:05d}" for n in (2 * fold, 2 * fold + 1)] for fold in range(3)]
    splits.write_text(json.dumps([{"train": ["case_00009"], "val": cases} for cases in val]))
    found = find_folds([merged], splits)
    assert {fold: list(cases) for fold, cases in found.items()} == {f"fold_{n}": cases for n, cases in enumerate(val)}
    (merged / "case_00003.nii.gz").unlink()
    with pytest.raises(PostprocessingError, match="no prediction of case_00003, which is in"):
        find_folds([merged], splits)
    with pytest.raises(PostprocessingError, match="With splits there is one folder of predictions, and 2 are given"):
        find_folds([merged, merged], splits)
    splits.write_text("[1]")
    with pytest.raises(PostprocessingError, match=r"is not nnU-Net's splits_final\.json"):
        find_folds([merged], splits)


def test_folders_that_are_no_folds_are_refused(folds):
    validation = folds / "model" / "fold_0" / "validation"
    with pytest.raises(PostprocessingError, match="case_00000: is in fold_0 and in"):
        find_folds([validation, validation])
    (folds / "nothing").mkdir()
    with pytest.raises(ImageError, match=r"nothing: holds no \.nii\.gz or \.nii file"):
        find_folds([folds / "nothing"])


def test_what_cannot_be_scored_is_refused_with_its_name(folds, caplog):
    def determine(year="23", chains=("two_kidneys",), predictions=None):
        places = [predictions or folds / "model"]
        return determine_postprocessing(places, folds / "ref", year, folds / "out", chains)

    determine(predictions=folds / "model" / "fold_1" / "validation")
    assert caplog.messages[0] == "Only one fold is given, so that one alone must become better. Give all folds."
    with pytest.raises(KitsError, match=rf"no KiTS release of year '20'\. Known: {', '.join(RELEASES)}"):
        determine("20")
    with pytest.raises(PostprocessingError, match="The candidates clean, clean hold a name twice"):
        determine(chains=("clean", "clean"))
    cyst = truth()
    cyst[5, 5, 10] = 3
    save(folds / "model/fold_0/validation/case_00000.nii.gz", cyst)
    with pytest.raises(ImageError, match=r"case_00000\.nii\.gz holds the value 3, but its labels are 0, 1, 2\."):
        determine("19")
    (folds / "ref" / "case_00004.nii.gz").unlink()
    with pytest.raises(PostprocessingError, match=r"no reference of case_00004. Name the KiTS folder"):
        determine()


def test_of_equal_chains_the_one_with_fewer_steps_is_taken_and_standing_still_is_no_help():
    chains = [load_chain(name) for name in ("no_specks", "two_kidneys", "fill_holes")]
    scores = {
        case: {
            "unchanged": {"a": 0.5, "b": 0.7},
            "no_specks": {"a": 0.6, "b": 0.8},
            "two_kidneys": {"a": 0.8, "b": 0.6},
        }
        for case in ("x", "y")
    }
    scores["x"]["fill_holes"], scores["y"]["fill_holes"] = {"a": 1.0, "b": 1.0}, {"a": 0.5, "b": 0.7}
    chosen, record = choose_chain(scores, {"0": ["x"], "1": ["y"]}, chains)
    assert chosen.name == "two_kidneys"
    assert record["candidates"]["no_specks"]["gain"] == pytest.approx(0.1)
    assert record["candidates"]["fill_holes"]["gain_by_fold"] == pytest.approx({"0": 0.4, "1": 0})
    assert record["candidates"]["fill_holes"]["verdict"] == "does not raise the mean of 1"
    with pytest.raises(PostprocessingError, match="1: this fold has no cases"):
        choose_chain(scores, {"0": ["x"], "1": []}, chains)

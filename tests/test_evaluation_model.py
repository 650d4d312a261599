"""``nnunet_kits evaluate --model``: a trained model's folds in the tables that papers print."""

import csv
import json
import statistics

import nibabel as nib
import numpy as np
import pytest
from kits_trees import SHAPE, labels_of, save
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from sklearn.metrics import precision_score, recall_score
from test_evaluation import official

from nnunet_kits import evaluation
from nnunet_kits.cli.main import main
from nnunet_kits.derivation.label_change import SourceLabels, label_change
from nnunet_kits.derivation.rule import load_rule, rule_names
from nnunet_kits.errors import EvaluationError, ImageError
from nnunet_kits.evaluation import metrics
from nnunet_kits.evaluation.dataset_labels import dataset_labels
from nnunet_kits.evaluation.evaluate import evaluate_model
from nnunet_kits.evaluation.metrics import Slices, score_case
from nnunet_kits.evaluation.paper_tables import tables_of
from nnunet_kits.inference.system import load_system, system_names
from nnunet_kits.labels import REGION_LABEL, REGIONS, Label
from nnunet_kits.releases import RELEASES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the oracle surface_distance
DATASET = "Dataset220_KiTS2023"
CLASSES = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
SPACING = (5.0, 0.75, 0.875)
TOLERANCES = RELEASES["23"].tolerances_mm


def name(number):
    return f"case_{number:05d}"


def predicted(number, seed=0):
    """The reference of a case, with a tenth of its voxels changed to another label."""
    generator, labels = np.random.default_rng(number + 100 * seed), labels_of(number, "23")
    labels[1:5, 2:8, 2:9] += generator.choice(4, (4, 6, 7), p=[0.9, 0.05, 0.03, 0.02]).astype(np.uint8)
    return labels % 4


def write_model(root, labels=CLASSES, change=lambda array: array, trainer="nnUNetTrainer", **described):
    """A model folder with two validated folds of three cases each, as any trainer leaves it, and its dataset."""
    raw, preprocessed, results = (
        root / folder / DATASET for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    )
    model = results / f"{trainer}__nnUNetPlans__3d_fullres"
    cases = [[0, 1, 2], [3, 4, 5]]
    for fold, numbers in enumerate(cases):
        for number in numbers:
            save(raw / "labelsTr" / f"{name(number)}.nii.gz", change(labels_of(number, "23")))
            save(model / f"fold_{fold}" / "validation" / f"{name(number)}.nii.gz", change(predicted(number)))
    splits = [
        {"train": [name(n) for n in cases[1 - fold]], "val": [name(n) for n in numbers]}
        for fold, numbers in enumerate(cases)
    ]
    preprocessed.mkdir(parents=True)
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    content = {"labels": labels, "file_ending": ".nii.gz", "channel_names": {"0": "CT"}, **described}
    (model / "dataset.json").write_text(json.dumps(content))
    return model


@pytest.fixture
def model(nnunet):
    """A stock trainer's, of KiTS23."""
    return write_model(nnunet, release="KiTS23")


def rows(path):
    """(class, score) -> the other columns, as numbers; None for an empty one."""
    with path.open() as file:
        return {
            (row.pop("class"), row.pop("score")): {k: float(v) if v else None for k, v in row.items()}
            for row in csv.DictReader(file)
        }


def slice_dices(ours, theirs, members):
    """Dice of every slice, literally."""
    found = []
    for a, b in zip(np.isin(ours, members), np.isin(theirs, members), strict=True):
        found.append(2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else 1.0)
    return found


def members_of():
    return {**REGIONS, **{label.name.lower(): (label,) for label in (Label.KIDNEY, Label.TUMOR, Label.CYST)}}


def tolerance_of(structure):
    region = next((region for region, label in REGION_LABEL.items() if label.name.lower() == structure), structure)
    return TOLERANCES[region]


def test_every_score_of_a_case_is_that_of_deepmind_scikit_learn_and_literal_numpy():
    for number in range(4):
        ours, theirs = predicted(number), labels_of(number, "23")
        found = score_case(ours, theirs, SPACING, TOLERANCES, slices=Slices(0, 6))
        assert list(found["precision"]) == list(members_of())
        for structure, members in members_of().items():
            p, r = np.isin(ours, members).ravel(), np.isin(theirs, members).ravel()
            dice, surface = official(ours, theirs, members, SPACING, tolerance_of(structure))
            own = structure in ("kidney", "cyst", "tumor")
            assert found["label_dice" if own else "dice"][structure] == pytest.approx(dice)
            assert found["label_surface_dice" if own else "surface_dice"][structure] == pytest.approx(surface)
            assert found["precision"][structure] == pytest.approx(precision_score(r, p, zero_division=0))
            assert found["recall"][structure] == pytest.approx(recall_score(r, p, zero_division=0))
            assert found["slice_dice"][structure] == pytest.approx(np.mean(slice_dices(ours, theirs, members)))


def test_what_neither_map_has_scores_one_and_what_one_lacks_scores_zero():
    empty, full = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    full[1:3, 1:3, 1:3] = 2
    both = score_case(empty, empty, (1, 1, 1), TOLERANCES, slices=Slices(0, 4))
    for kind in ("precision", "recall", "slice_dice", "label_surface_dice"):
        assert set(both[kind].values()) == {1.0}
    for pair in ((empty, full), (full, empty)):
        one = score_case(*pair, (1, 1, 1), TOLERANCES, slices=Slices(0, 4))
        assert (one["precision"]["tumor"], one["recall"]["tumor"], one["label_surface_dice"]["tumor"]) == (0, 0, 0)
        assert (one["slice_dice"]["tumor"], one["slice_dice"]["cyst"]) == (0.5, 1.0)


def test_slices_are_axial_in_any_orientation_of_the_file(tmp_path):
    label = labels_of(0, "23")
    ours = predicted(0)
    straight = [save(tmp_path / f"{n}.nii.gz", array) for n, array in (("p", ours), ("r", label))]
    turned = []
    for n, file in (("tp", straight[0]), ("tr", straight[1])):
        image = nib.as_closest_canonical(nib.load(file))  # RAS: slices lie along the last axis
        nib.save(image, tmp_path / f"{n}.nii.gz")
        turned.append(tmp_path / f"{n}.nii.gz")
    for number, (p, r) in enumerate((straight, turned)):
        (tmp_path / f"{number}").mkdir()
        found = evaluation.evaluate_folder(p, r, "23", tmp_path / f"{number}", tables=True)
        (case,) = found["cases"].values()
        assert case["slices"] == SHAPE[0]
        expected = np.mean(slice_dices(ours, label, (1, 2, 3)))
        assert case["slice_dice"]["kidney_and_mass"] == pytest.approx(expected)


def test_a_models_folds_have_their_means_and_deviations_over_folds_and_over_cases(model, capsys):
    assert main(["evaluate", "--model", str(model)]) == 0
    found = rows(model / "evaluation" / "tables.csv")
    for structure, members in members_of().items():
        folds = []
        for fold in (0, 1):
            cases = [(predicted(n), labels_of(n, "23")) for n in range(3 * fold, 3 * fold + 3)]
            folds.append([official(*case, members, SPACING, tolerance_of(structure)) for case in cases])
        for column, score in enumerate(("dice", "surface_dice")):
            row, values = found[structure, score], np.array(folds)[:, :, column]
            assert [row["fold_0"], row["fold_1"]] == pytest.approx(values.mean(axis=1), abs=1e-8)
            assert row["folds_mean"] == pytest.approx(values.mean(axis=1).mean(), abs=1e-8)
            assert row["folds_sd"] == pytest.approx(values.mean(axis=1).std(ddof=1), abs=1e-8)
            assert row["cases_mean"] == pytest.approx(values.mean(), abs=1e-8)
            assert row["cases_sd"] == pytest.approx(values.std(ddof=1), abs=1e-8)
        pooled = [d for n in range(6) for d in slice_dices(predicted(n), labels_of(n, "23"), members)]
        row = found[structure, "all_slices_dice"]
        assert row["cases_mean"] == pytest.approx(np.mean(pooled), abs=1e-8)
        assert row["cases_sd"] is None
    printed = capsys.readouterr().out
    row = found["tumor", "dice"]
    assert f"{row['folds_mean']:.4f} +- {row['folds_sd']:.4f}" in printed
    assert "note" not in printed
    metrics = json.loads((model / "evaluation" / "metrics.json").read_text())
    assert metrics["folds"] == {f"fold_{f}": [name(n) for n in range(3 * f, 3 * f + 3)] for f in (0, 1)}
    header = (model / "evaluation" / "evaluation.csv").read_text().splitlines()[0]
    assert header == "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor"


def test_the_mean_over_slices_weighs_slices_and_the_mean_over_cases_cases():
    cases = [
        {"dice": {"tumor": d}, "label_dice": {}, "surface_dice": {}, "label_surface_dice": {}, "slices": s}
        | {kind: {"tumor": d} for kind in ("precision", "recall", "slice_dice")}
        for d, s in ((0.5, 10), (0.9, 30))
    ]
    found = {row["score"]: row for row in tables_of({"cases": cases}, ())}
    assert found["slice_dice"]["cases_mean"] == pytest.approx(0.7)
    assert found["slice_dice"]["cases_sd"] == pytest.approx(statistics.stdev([0.5, 0.9]))
    assert found["all_slices_dice"]["cases_mean"] == pytest.approx(0.8)
    assert "folds_mean" not in found["dice"]


@pytest.mark.parametrize(
    ("labels", "regions"),
    [
        (CLASSES, [1, 2, 3]),
        ({"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}, [(1, 2, 3), (2, 3), (2,)]),
        ({**CLASSES, "ignore": 4}, [1, 2, 3]),
    ],
    ids=["classes", "stock regions", "ignore label"],
)
def test_dice_is_that_of_nnunets_own_summary(nnunet, labels, regions):
    model = write_model(nnunet, labels)
    references = nnunet / "nnUNet_raw" / DATASET / "labelsTr"
    if "ignore" in labels:
        for file in references.iterdir():
            array = np.asarray(nib.load(file).dataobj).copy()
            array[3:] = 4
            save(file, array)
    found = evaluate_model(model, year="23")
    for fold in (0, 1):
        stock = [
            compute_metrics(
                *(str(references / file.name), str(file), NibabelIOWithReorient(), regions, labels.get("ignore")),
            )["metrics"]
            for file in sorted((model / f"fold_{fold}" / "validation").iterdir())
        ]
        for region in regions:
            members = region if isinstance(region, tuple) else (region,)
            structure = next(key for key, value in members_of().items() if tuple(value) == members)
            (row,) = [row for row in found["tables"] if (row["class"], row["score"]) == (structure, "dice")]
            theirs = [case[region]["Dice"] for case in stock]
            assert row[f"fold_{fold}"] == pytest.approx(np.mean(np.nan_to_num(theirs, nan=1.0)))


@pytest.mark.parametrize(
    ("labels", "change", "classes"),
    [
        ({"background": 0, "tumor": 1}, lambda a: (a == 2).astype(np.uint8), {"tumor": "tumor"}),
        ({"background": 0, "kidney": 1}, lambda a: (a > 0).astype(np.uint8), {"kidney_and_mass": "kidney_and_mass"}),
        (
            {"background": 0, "kidney": 1, "mass": 2},
            lambda a: np.array([0, 1, 2, 2], np.uint8)[a],
            {"kidney_and_mass": "kidney_and_mass", "mass": "mass"},
        ),
    ],
    ids=["tumor alone", "kidney with masses", "masses joined"],
)
def test_a_dataset_made_of_some_labels_is_scored_in_the_classes_that_it_has(nnunet, labels, change, classes):
    model = write_model(nnunet, labels, change, release="KiTS23")
    found = evaluate_model(model)
    assert list(found["mean"]["dice"]) == list(classes)
    assert ("tumors" in found) == ("tumor" in labels)
    whole = write_model(nnunet / "whole", release="KiTS23")
    as_in_kits = evaluate_model(whole, references=nnunet / "whole" / "nnUNet_raw" / DATASET / "labelsTr")
    for kind in ("dice", "surface_dice", "precision", "slice_dice"):
        for ours, theirs in classes.items():
            assert found["mean"][kind][ours] == pytest.approx(as_in_kits["mean"][kind][theirs])
    assert "cyst" not in found["mean"]["label_dice"]


@pytest.mark.parametrize("rule", rule_names())
def test_every_shipped_rule_makes_a_dataset_that_can_be_scored(rule):
    source = SourceLabels.of({"labels": CLASSES}, "the source")
    content = label_change(load_rule(rule), source, "the source").content
    found = dataset_labels(content, "dataset.json")
    labels = {name: value for name, value in content["labels"].items() if name not in ("background", "ignore")}
    assert set(found.values) == set(labels.values())
    assert found.ignored == content["labels"].get("ignore")
    assert found.classes or found.labels


@pytest.mark.parametrize("name", system_names())
def test_what_every_shipped_system_predicts_can_be_scored(name):
    found = dataset_labels({"labels": {"background": 0, **dict(load_system(name).labels)}}, name)
    assert found.classes[0] == "kidney_and_mass"
    assert all(int(label) == value for value, label in found.values.items())


def test_labels_of_another_organ_are_refused(nnunet):
    model = write_model(nnunet, {"background": 0, "spleen": 1})
    with pytest.raises(EvaluationError, match=r"dataset\.json: its labels are spleen, but only kidney, .* be scored"):
        evaluate_model(model, year="23")


def test_an_ignore_label_that_follows_regions_without_cysts_is_no_cyst():
    found = dataset_labels({"labels": {"kidney_and_mass": [1, 2], "tumor": 2, "ignore": 3}}, "dataset.json")
    assert (sorted(found.values), found.ignored, found.classes) == ([1, 2], 3, ("kidney_and_mass", "tumor"))


@pytest.mark.parametrize(
    "labels", [{"tumor": "1"}, {"tumor": 0}, {"tumor": 256}, {"tumor": [1.5]}, {"tumor": [[1]]}, {"tumor": None}]
)
def test_values_that_are_none_are_refused(labels):
    with pytest.raises(EvaluationError, match=r"dataset\.json: its labels are .* whole numbers of 1 to 255"):
        dataset_labels({"labels": labels}, "dataset.json")
    with pytest.raises(EvaluationError, match="its labels are none, but only kidney, "):
        dataset_labels({"labels": list(labels)}, "dataset.json")


def test_a_value_that_the_dataset_has_no_label_for_is_refused(nnunet):
    model = write_model(nnunet, {"background": 0, "kidney": 1}, release="KiTS23")
    with pytest.raises(ImageError, match=r"case_0000\d: .* holds the value \d, but its labels are 0, 1"):
        evaluate_model(model)


def test_a_fold_that_is_not_whole_is_named_with_its_numbers_and_scored_only_on_request(model, capsys):
    (model / "fold_1" / "validation" / f"{name(4)}.nii.gz").unlink()
    assert main(["evaluate", "--model", str(model)]) == 2
    assert "fold_1: 2 of 3 cases; case_00004 missing. Predict the rest, or pass --partly" in capsys.readouterr().err
    assert not (model / "evaluation").exists()
    assert main(["evaluate", "--model", str(model), "--partly"]) == 0
    assert "note: fold_1: 2 of 3 cases; case_00004 missing." in capsys.readouterr().out
    assert json.loads((model / "evaluation" / "metrics.json").read_text())["folds"]["fold_1"] == [name(3), name(5)]


def test_a_fold_without_validation_is_named_and_fold_all_is_left_out(model, capsys):
    (model / "fold_1").rename(model / "fold_all")
    assert main(["evaluate", "--model", str(model)]) == 0
    printed = capsys.readouterr().out
    assert "note: nothing of fold_1: the means are over 1 of 2 folds." in printed
    assert "note: fold_all is left out: it validates the cases that it was trained on." in printed
    row = rows(model / "evaluation" / "tables.csv")["tumor", "dice"]
    assert row["folds_sd"] is None
    assert row["folds_mean"] == row["fold_0"] == row["cases_mean"]


def test_a_fold_of_other_splits_is_refused(model):
    file = model / "fold_0" / "validation" / f"{name(0)}.nii.gz"
    (model / "fold_1" / "validation" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(EvaluationError, match="fold_1: case_00000 is among its label maps, but "):
        evaluate_model(model)


def test_predictions_are_sorted_into_the_folds_that_did_not_train_on_them(model, nnunet, capsys):
    given = nnunet / "predicted"
    for number in range(6):
        save(given / f"{name(number)}.nii.gz", predicted(number, seed=1))
    assert main(["evaluate", str(given), "--model", str(model)]) == 0
    found = rows(given / "tables.csv")["kidney_and_mass", "dice"]
    for fold in (0, 1):
        cases = [(predicted(n, 1), labels_of(n, "23")) for n in range(3 * fold, 3 * fold + 3)]
        expected = np.mean([official(*case, (1, 2, 3), SPACING, 1.0)[0] for case in cases])
        assert found[f"fold_{fold}"] == pytest.approx(expected, abs=1e-8)
    (given / f"{name(0)}.nii.gz").unlink()
    assert main(["evaluate", str(given), "--model", str(model)]) == 2
    assert "fold_0: 2 of 3 cases; case_00000 missing" in capsys.readouterr().err


def test_the_predictions_own_labels_count_where_they_are_a_systems_and_not_the_models(nnunet):
    model = write_model(nnunet, {"background": 0, "kidney_and_mass": 1}, release="KiTS23")
    given = nnunet / "predicted"
    for number in range(6):
        save(given / f"{name(number)}.nii.gz", predicted(number))
    with pytest.raises(ImageError, match=r"holds the value [23], but its labels are 0, 1"):
        evaluate_model(model, given)
    (given / "dataset.json").write_text(json.dumps({"labels": CLASSES}))
    found = evaluate_model(model, given)
    assert (found["year"], list(found["mean"]["dice"])) == ("23", list(REGIONS))


def test_predictions_on_the_grid_of_a_derived_datasets_source_are_scored_against_the_sources_references(nnunet):
    model = write_model(nnunet, {"background": 0, "kidney_and_mass": 1}, lambda a: (a[1:] > 0).astype(np.uint8))
    source, given = nnunet / "nnUNet_raw" / "Dataset300_Source", nnunet / "predicted"
    for number in range(6):
        save(source / "labelsTr" / f"{name(number)}.nii.gz", labels_of(number, "23"))
        save(given / f"{name(number)}.nii.gz", predicted(number))
    (given / "dataset.json").write_text(json.dumps({"labels": CLASSES}))
    record = nnunet / "nnUNet_raw" / DATASET / "derivation.json"
    record.write_text(json.dumps({"source": str(source)}))
    found = evaluate_model(model, given, year="23")
    assert found["cases"][name(0)]["dice"]["tumor"] == pytest.approx(
        official(predicted(0), labels_of(0, "23"), (2,), SPACING, 1.0)[0]
    )
    assert list(evaluate_model(model, year="23")["mean"]["dice"]) == ["kidney_and_mass"]
    record.write_text("{}")
    with pytest.raises(EvaluationError, match="does not say what the dataset was derived from"):
        evaluate_model(model, given, year="23")


def test_a_system_without_cysts_is_scored_against_all_that_the_references_hold(nnunet):
    model = write_model(nnunet, {"background": 0, "tumor": 1}, lambda a: (a == 2).astype(np.uint8), release="KiTS23")
    source, given = nnunet / "nnUNet_raw" / "Dataset300_Source", nnunet / "predicted"
    for number in range(6):
        save(source / "labelsTr" / f"{name(number)}.nii.gz", labels_of(number, "23"))
        save(given / f"{name(number)}.nii.gz", np.array([0, 1, 2, 1], np.uint8)[predicted(number)])
    (given / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "kidney": 1, "tumor": 2}}))
    (nnunet / "nnUNet_raw" / DATASET / "derivation.json").write_text(json.dumps({"source": str(source)}))
    found = evaluate_model(model, given)
    plain = evaluation.evaluate_folder(given, source / "labelsTr", "23", nnunet / "plain", tables=True)
    assert list(found["mean"]["dice"]) == ["kidney_and_mass", "tumor"]
    for kind, scores in found["mean"].items():
        for structure, mean in scores.items():
            assert mean == plain["mean"][kind][structure], (kind, structure)


def test_predictions_with_a_derived_datasets_labels_are_scored_against_its_own_references_on_one_grid_too(nnunet):
    model = write_model(nnunet, {"background": 0, "tumor": 1}, lambda a: (a == 2).astype(np.uint8), release="KiTS23")
    source, given = nnunet / "nnUNet_raw" / "Dataset300_Source", nnunet / "predicted"
    for number in range(6):
        save(source / "labelsTr" / f"{name(number)}.nii.gz", labels_of(number, "23"))
        save(given / f"{name(number)}.nii.gz", (predicted(number) == 2).astype(np.uint8))
    (nnunet / "nnUNet_raw" / DATASET / "derivation.json").write_text(json.dumps({"source": str(source)}))
    assert evaluate_model(model, given)["cases"] == evaluate_model(model)["cases"]


def test_held_out_cases_are_a_group_of_their_own_and_trained_ones_are_refused(model, nnunet):
    save(nnunet / "nnUNet_raw" / DATASET / "labelsTr" / f"{name(6)}.nii.gz", labels_of(6, "23"))
    save(nnunet / "held_out" / f"{name(6)}.nii.gz", predicted(6))
    found = evaluate_model(model, nnunet / "held_out")
    assert found["folds"] == {"held_out": [name(6)]}
    assert found["notes"] == []
    assert "folds_mean" not in found["tables"][0]
    splits = nnunet / "nnUNet_preprocessed" / DATASET / "splits_final.json"
    splits.write_text(json.dumps([{"train": [name(6)], "val": [name(0)]}]))
    with pytest.raises(EvaluationError, match="case_00006 is trained by every fold, so there is nothing to"):
        evaluate_model(model, nnunet / "held_out")


def test_a_case_of_two_folds_is_scored_in_both(model, nnunet):
    splits = nnunet / "nnUNet_preprocessed" / DATASET / "splits_final.json"
    splits.write_text(json.dumps([{"train": [name(9)], "val": [name(n) for n in range(3)]}] * 2))
    (model / "fold_1").rename(model / "unused")
    (model / "fold_1" / "validation").mkdir(parents=True)
    for number in range(3):
        save(model / "fold_1" / "validation" / f"{name(number)}.nii.gz", labels_of(number, "23"))
    found = evaluate_model(model)
    assert list(found["cases"]) == [f"fold_{fold}/{name(n)}" for fold in (0, 1) for n in range(3)]
    (row,) = [row for row in found["tables"] if (row["class"], row["score"]) == ("tumor", "dice")]
    assert row["fold_0"] < row["fold_1"] == 1.0


def test_without_nnunets_folders_the_references_are_asked_for(model, nnunet, monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(variable)
    with pytest.raises(EvaluationError, match=f"{DATASET}: its labelsTr is not found. Set nnUNet_raw, or name"):
        evaluate_model(model)
    references = nnunet / "nnUNet_raw" / DATASET / "labelsTr"
    found = evaluate_model(model, references=references)
    assert found["notes"] == [f"no splits_final.json of {DATASET}, so whether the folds are whole is not known."]
    (references / f"{name(5)}.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"no reference of case_00005\. Name the folder with the references"):
        evaluate_model(model, references=references)
    with pytest.raises(EvaluationError, match=r"its splits_final\.json is not found, so nobody knows which fold"):
        evaluate_model(model, references, references)


def test_what_is_no_model_and_a_dataset_of_no_year_are_refused(model, nnunet):
    with pytest.raises(EvaluationError, match=r"dataset\.json: no such file\. Name the folder <trainer>__<plans>"):
        evaluate_model(nnunet)
    (model / "dataset.json").write_text(json.dumps({"labels": CLASSES}))
    with pytest.raises(EvaluationError, match=r"names no KiTS year\. Say whose tolerances to take by --year"):
        evaluate_model(model)
    assert evaluate_model(model, year="21")["tolerances_mm"] == RELEASES["21"].tolerances_mm
    for fold in (0, 1):
        (model / f"fold_{fold}" / "validation").rename(model / f"fold_{fold}" / "old")
    with pytest.raises(EvaluationError, match=r"no fold has label maps in its folder validation\. nnUNetv2_train"):
        evaluate_model(model)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "[1]", '[{"train": ["a"]}]', '[{"train": [1], "val": ["a"]}]', "9"]
)
def test_splits_that_are_none_are_refused(model, nnunet, content):
    file = nnunet / "nnUNet_preprocessed" / DATASET / "splits_final.json"
    file.write_text(content)
    with pytest.raises(EvaluationError, match=rf"{file}: (not a JSON file|is not nnU-Net's splits_final\.json)"):
        evaluate_model(model)


def test_a_folder_gets_tables_on_request_and_is_scored_without_another_pass_otherwise(model, nnunet, monkeypatch):
    references = nnunet / "nnUNet_raw" / DATASET / "labelsTr"
    folder = nnunet / "some"
    for number in range(6):
        save(folder / f"{name(number)}.nii.gz", predicted(number))
    counted = []
    for function in ("joint_histogram", "find_surface"):
        real = getattr(metrics, function)
        monkeypatch.setattr(metrics, function, lambda *a, f=function, r=real: counted.append(f) or r(*a))
    plain = evaluation.evaluate_folder(folder, references, "23")
    assert counted.count("joint_histogram") == 6
    assert counted.count("find_surface") <= 6 * 3 * 2
    assert sorted(path.name for path in folder.glob("[em]*")) == ["evaluation.csv", "metrics.json"]
    assert set(plain["mean"]) == {"dice", "surface_dice", "label_dice"}
    written = (folder / "evaluation.csv").read_bytes()
    full = evaluation.evaluate_folder(folder, references, "23", tables=True)
    assert (folder / "evaluation.csv").read_bytes() == written
    for case, scores in plain["cases"].items():
        assert scores.items() <= full["cases"][case].items()
    found = rows(folder / "tables.csv")["cyst", "precision"]
    assert set(found) == {"cases_mean", "cases_sd"}


def test_without_a_model_the_arguments_are_asked_for_and_may_stand_among_options(model, nnunet, capsys):
    folder, references = model / "fold_0" / "validation", nnunet / "nnUNet_raw" / DATASET / "labelsTr"
    assert main(["evaluate", str(folder), "--year", "23", str(references), "--partly"]) == 0
    for words in ([str(folder)], [str(folder), str(references)], ["--year", "23"]):
        with pytest.raises(SystemExit):
            main(["evaluate", *words])
    assert "the following arguments are required: PRED, REF" in capsys.readouterr().err


def test_a_stopped_run_goes_on_and_one_with_other_labels_does_not_take_its_scores(model, nnunet, monkeypatch):
    real, scored = evaluation.evaluate.score_pair, []

    def stop_after_two(task):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(task[0].case)
        return real(task)

    monkeypatch.setattr(evaluation.evaluate, "score_pair", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(model)
    monkeypatch.setattr(evaluation.evaluate, "score_pair", lambda task: scored.append(task[0].case) or real(task))
    scored.clear()
    evaluate_model(model)
    assert scored == [name(n) for n in (2, 3, 4, 5)]

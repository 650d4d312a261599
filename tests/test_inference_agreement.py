"""``predict --agreement``: how far folds, or mirrored copies of one, agree."""

import csv
import json
from dataclasses import replace
from itertools import combinations

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_models import plans_with, write_model_folder
from test_inference import abdomen

from nnunet_kits.cli.main import main
from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.agreement import members_of
from nnunet_kits.inference.coarse_to_fine import Settings, predict_array
from nnunet_kits.inference.model import load_model
from nnunet_kits.measurement.agreement import Tally, in_words, lowest_dice

SPACING = (3.0, 2.0, 2.0)
SHAPE = (16, 24, 24)
IPL = np.array([[0, 0, -2.0, 0], [0, -2.0, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1.0]])


def image():
    noise = np.random.default_rng(0).normal(0, 60, SHAPE)
    return abdomen(SHAPE, ((8, 12, 7), (8, 12, 17))) + noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of three folds on the CT's own grid, whose window is all of it."""
    plans = plans_with(spacing=SPACING, patch=SHAPE)
    return write_model_folder(tmp_path_factory.mktemp("model"), plans, "3d_fullres", folds=(0, 1, 2))


def loaded(folder, *folds):
    return load_model(folder, torch.device("cpu"), folds)


def dice(a, b):
    both = a.sum() + b.sum()
    return round(2 * float((a & b).sum()) / both, 4) if both else None


def check(agreement, maps):
    """Volumes and Dice are those of the members' label maps, counted here."""
    for name, value in (("kidney", 1), ("tumor", 2), ("cyst", 3)):
        found = agreement["labels"][name]
        masks = [one == value for one in maps]
        assert found["volume_ml"] == [pytest.approx(mask.sum() * 12 / 1000, abs=1e-4) for mask in masks]
        assert found["dice"] == [[dice(a, b) for b in masks] for a in masks]
    assert len({one.tobytes() for one in maps}) == len(maps)  # they do differ


def test_folds_are_compared_by_the_label_map_of_each_alone_and_the_result_is_the_same(folder):
    how = Settings(mirror=False)
    together = loaded(folder, "0", "1", "2")
    plain = predict_array(image(), SPACING, [together], None, how)
    compared = predict_array(image(), SPACING, [together], None, replace(how, agreement=True))
    assert (compared.labels == plain.labels).all()
    assert plain.agreement == []
    (agreement,) = compared.agreement
    assert agreement["members"] == ["fold 0", "fold 1", "fold 2"]
    assert (agreement["model"], agreement["of"]) == (folder.name, "folds")
    check(agreement, [predict_array(image(), SPACING, [loaded(folder, f)], None, how).labels for f in "012"])


def test_one_fold_is_compared_with_its_mirrored_copies(folder):
    how = Settings(mirror_axes=("y", "x"))
    one = loaded(folder, "1")
    plain = predict_array(image(), SPACING, [one], None, how)
    compared = predict_array(image(), SPACING, [one], None, replace(how, agreement=True))
    assert (compared.labels != plain.labels).mean() < 1e-3  # near-ties: each flip is rounded by itself
    (agreement,) = compared.agreement
    assert agreement["members"] == ["as it is", "mirrored y", "mirrored x", "mirrored yx"]
    alone = Settings(mirror=False)
    maps = []
    for axes in ((), (1,), (2,), (1, 2)):
        turned = predict_array(np.flip(image(), axes), SPACING, [one], None, alone).labels
        maps.append(np.flip(turned, axes))
    check(agreement, maps)


def test_one_fold_without_mirroring_has_nothing_to_compare(folder):
    with pytest.raises(InferenceError, match=r"has one fold and is not mirrored, so there is nothing to compare"):
        members_of(loaded(folder, "0"), Settings(mirror=False).windows)


maps = arrays(np.uint8, (3, 2, 4, 5), elements=st.integers(0, 3))


@given(maps, arrays(np.bool_, (2, 4, 5)))
@settings(max_examples=40, deadline=None)
def test_every_voxel_is_counted_once_in_whatever_parts_it_comes(members, first):
    whole, parts = (Tally(["a", "b", "c"], {"kidney": 1, "tumor": 2}, 0.5) for _ in range(2))
    whole.add(list(members))
    parts.add([np.where(first, one, 0) for one in members])
    parts.add(list(members), first)
    assert parts.as_json() == whole.as_json()
    for name, value in (("kidney", 1), ("tumor", 2)):
        found = whole.as_json()["labels"][name]
        assert found["volume_ml"] == [float((one == value).sum()) / 2 for one in members]
        for a, b in combinations(range(3), 2):
            expected = dice(members[a] == value, members[b] == value)
            assert found["dice"][a][b] == found["dice"][b][a] == expected


def test_the_lowest_dice_stands_in_the_words_and_is_never_rounded_up():
    tally = Tally(["a", "b"], {"kidney": 1, "tumor": 2, "cyst": 3}, 1.0)
    tally.add([np.repeat(np.array([1, 2], np.uint8), (300, 4)), np.repeat(np.array([1, 2], np.uint8), (299, 5))])
    agreement = {"of": "folds", **tally.as_json()}
    assert lowest_dice(agreement) == {"kidney": 0.9983, "tumor": 0.8889}
    assert in_words(agreement) == (
        "2 folds: kidney 299.0 to 300.0 mL, Dice 0.99 or more; tumor 4.0 to 5.0 mL, Dice 0.88 or more"
    )


def test_the_verb_writes_the_record_and_the_table_and_says_it_in_the_line(folder, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(image(), IPL), tmp_path / "in" / "case_00001_0000.nii.gz")
    options = ["--fine", str(folder), "--no-mirroring", "--device", "cpu"]
    given = ["predict", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *options]
    assert main(given) == 0
    assert not (tmp_path / "out" / "agreement.csv").exists()
    assert main([*given, "--agreement"]) == 0  # the same settings: the folder is gone on with
    assert "1 of them without --agreement, so they have none; --overwrite does them again" in capsys.readouterr().out
    assert main([*given, "--agreement", "--overwrite"]) == 0
    record = json.loads((tmp_path / "out" / "prediction.json").read_text(encoding="utf-8"))
    (agreement,) = record["cases"]["case_00001"]["agreement"]
    assert in_words(agreement) in capsys.readouterr().out
    with (tmp_path / "out" / "agreement.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3  # pairs by labels
    row = next(r for r in rows if (r["label"], r["first"], r["second"]) == ("tumor", "fold 0", "fold 2"))
    assert (row["case"], row["model"]) == ("case_00001", folder.name)
    assert float(row["dice"]) == agreement["labels"]["tumor"]["dice"][0][2]
    assert float(row["second_ml"]) == agreement["labels"]["tumor"]["volume_ml"][2]
    one = ["predict", "-i", str(tmp_path / "in" / "case_00001_0000.nii.gz"), "-o", str(tmp_path / "one.nii.gz")]
    assert main([*one, *options, "--agreement"]) == 2
    assert "--agreement writes tables beside the label maps. Give a folder with -o" in capsys.readouterr().err

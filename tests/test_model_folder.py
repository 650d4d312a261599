"""A model folder's name is what nnU-Net makes of trainer, plans and configuration, and comes apart again."""

import pytest
from nnunetv2.utilities.file_path_utilities import (
    get_output_folder,
    parse_dataset_trainer_plans_configuration_from_path,
)

from nnunet_kits.model_folder import ModelFolder, fold_folders, model_folders

DATASET = "Dataset064_KiTS2019"
PARTS = ("ResUNetTrainer_Adam", "KiTSCascadePlans", "3d_lowres")


def test_the_path_is_nnunets_own_with_and_without_a_fold(nnunet):
    dataset = nnunet / "nnUNet_results" / DATASET
    dataset.mkdir(parents=True)
    model = ModelFolder(dataset, *PARTS)
    assert str(model.path) == get_output_folder(DATASET, *PARTS)
    assert [str(model.fold(fold)) for fold in (3, "all")] == [
        get_output_folder(DATASET, *PARTS, fold=fold) for fold in (3, "all")
    ]
    assert model.dataset_id == 64


def test_a_path_comes_apart_as_nnunet_takes_it_apart(tmp_path):
    folder = tmp_path / DATASET / "__".join(PARTS)
    model = ModelFolder.at(folder)
    assert (model.path, model.dataset_folder) == (folder, tmp_path / DATASET)
    assert (DATASET, model.trainer, model.plans, model.configuration) == tuple(
        parse_dataset_trainer_plans_configuration_from_path(str(folder))
    )


def test_the_folder_one_stands_in_has_its_whole_name(tmp_path, monkeypatch):
    folder = tmp_path / DATASET / "__".join(PARTS)
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert ModelFolder.at(type(folder)(".")) == ModelFolder.at(folder)


@pytest.mark.parametrize("name", ["fold_0", "ResUNetTrainer__Plans", "A__B__C__D", ""])
def test_other_names_are_no_model_folders(tmp_path, name):
    assert ModelFolder.at(tmp_path / name) is None


def test_the_models_of_a_dataset_are_found_among_its_folders(tmp_path):
    models = [ModelFolder(tmp_path, trainer, *PARTS[1:]) for trainer in ("ATrainer", "BTrainer")]
    for path in (*(model.path for model in models), tmp_path / "ensembles"):
        path.mkdir()
    (tmp_path / "a__b__notes.txt").touch()
    assert model_folders(tmp_path) == models


def test_folds_are_the_folders_that_are_there(tmp_path):
    for name in ("fold_1", "fold_0", "fold_all", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "fold_2").touch()
    assert fold_folders(tmp_path) == {fold: tmp_path / f"fold_{fold}" for fold in ("0", "1", "all")}

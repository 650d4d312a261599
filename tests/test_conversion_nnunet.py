"""What nnU-Net itself makes of a converted dataset."""

import json
import shutil

import numpy as np
import pytest
from kits_trees import IPL, SHAPE, case_folder, image_of, labels_of, make_tree, save

from nnunet_kits.cli.main import main
from nnunet_kits.conversion.convert import convert
from nnunet_kits.conversion.dataset_json import dataset_json
from nnunet_kits.conversion.settings import Settings
from nnunet_kits.releases import RELEASES


@pytest.fixture
def converted(tmp_path):
    make_tree(tmp_path / "kits")

    def make(**options):
        return convert(Settings(RELEASES["23"], tmp_path / "kits", tmp_path / "raw", workers=1, **options)).dataset

    return make


@pytest.mark.parametrize("year", RELEASES)
@pytest.mark.parametrize("label_mode", ["classes", "regions"])
def test_nnunets_label_manager_restores_every_label_from_perfect_logits(year, label_mode):
    import torch
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    content = json.loads(json.dumps(dataset_json(RELEASES[year], "KiTS", label_mode, 3)))
    manager = LabelManager(content["labels"], content.get("regions_class_order"))
    labels = torch.from_numpy(labels_of(2, year))
    assert manager.has_regions == (label_mode == "regions")
    wanted = manager.foreground_regions if manager.has_regions else [0, *manager.foreground_labels]
    masks = [sum(labels == int(value) for value in np.atleast_1d(region)).bool() for region in wanted]
    logits = torch.stack(masks).float() * 20 - 10
    assert torch.equal(manager.convert_logits_to_segmentation(logits), labels.to(torch.int64))


@pytest.mark.parametrize("mode", ["compact", "copy"])
def test_nnunets_reader_loads_the_same_float32_from_every_mode(tmp_path, converted, mode):
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    reader = NibabelIOWithReorient()
    source, about_source = reader.read_images([str(case_folder(tmp_path / "kits", 1) / "imaging.nii.gz")])
    image, about = reader.read_images([str(converted(mode=mode) / "imagesTr" / "case_00001_0000.nii.gz")])
    assert source.dtype == image.dtype == np.float32
    assert np.array_equal(source, image)
    assert about["spacing"] == about_source["spacing"] == [5.0, 0.75, 0.875]
    assert np.allclose(about["nibabel_stuff"]["original_affine"], IPL)


def test_the_chosen_reader_puts_the_slices_first_and_the_plain_ones_put_them_last(converted):
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    dataset = converted()
    image = str(dataset / "imagesTr" / "case_00001_0000.nii.gz")
    content = json.loads((dataset / "dataset.json").read_text())
    assert determine_reader_writer_from_dataset_json(content, image) is NibabelIOWithReorient
    array, about = NibabelIOWithReorient().read_images([image])
    assert array.shape == (1, *SHAPE)
    assert np.array_equal(array[0], image_of(1)[::-1, ::-1, ::-1])  # IPL to SAR: every axis turned round
    for plain in (NibabelIO, SimpleITKIO):
        array, about = plain().read_images([image])
        assert array.shape == (1, *SHAPE[::-1])
        assert about["spacing"] == pytest.approx([0.875, 0.75, 5.0])


def test_the_same_patient_stored_in_another_orientation_is_the_same_array_for_the_chosen_reader_only(
    tmp_path, converted
):
    import nibabel as nib
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    kits = converted() / "imagesTr" / "case_00001_0000.nii.gz"
    image = nib.load(kits)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt("LAS"))  # as dcm2niix stores an axial series
    nib.save(image.as_reoriented(turn), tmp_path / "clinic.nii.gz")
    for reader, same in ((NibabelIOWithReorient(), True), (SimpleITKIO(), False)):
        (first, _), (second, _) = (reader.read_images([str(path)]) for path in (kits, tmp_path / "clinic.nii.gz"))
        assert np.array_equal(first, second) == same


def test_what_nnunets_writer_saves_lies_on_the_grid_of_the_converted_case(tmp_path, converted):
    import nibabel as nib
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    reader = NibabelIOWithReorient()
    dataset = converted()
    _, about = reader.read_images([str(dataset / "imagesTr" / "case_00001_0000.nii.gz")])
    segmentation, _ = reader.read_seg(str(dataset / "labelsTr" / "case_00001.nii.gz"))
    reader.write_seg(segmentation[0], str(tmp_path / "prediction.nii.gz"), about)
    prediction = nib.load(tmp_path / "prediction.nii.gz")
    assert np.array_equal(np.asarray(prediction.dataobj), labels_of(1, "23"))
    assert np.allclose(prediction.affine, IPL)


@pytest.mark.slow
def test_verify_runs_nnunets_own_check_and_passes_on_its_refusal(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    tree = make_tree(tmp_path / "kits")
    command = ["convert", "--year", "23", str(tree), "--verify", "-np", "1"]
    assert main(command) == 0
    assert "verify_dataset_integrity Done." in capfd.readouterr().out
    shutil.copy(
        tmp_path / "raw/Dataset220_KiTS2023/labelsTr/case_00001.nii.gz",
        tmp_path / "raw/Dataset220_KiTS2023/labelsTr/x.nii.gz",
    )
    save(tmp_path / "raw/Dataset220_KiTS2023/imagesTr/x_0000.nii.gz", image_of(1))
    assert main(command) == 2
    assert "nnU-Net's verify_dataset_integrity refuses it; see its lines above." in capfd.readouterr().err

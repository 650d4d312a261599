"""DICOM-SEG and structured reports, read back by pydicom, highdicom and SimpleITK, and checked by dciodvfy."""

import csv
import json
import shutil
import subprocess

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import AXIAL, phantom, write_enhanced, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes
from small_kidneys import abdomen, ragged

from nnunet_kits.cli.main import main
from nnunet_kits.dicom_output import Author, open_source, segments_of, write_case, write_measures, write_segmentation
from nnunet_kits.dicom_output.codes import KIDNEY, QUANTITIES, SIDES, STRUCTURES
from nnunet_kits.errors import ImageError, KitsError
from nnunet_kits.images import choose_series, find_series, read_labels, series_grid, write_volume
from nnunet_kits.measurement.parts import numbered_parts

REVERSED = (-1, 0, 0, 0, 1, 0)  # seen from the head; slices run from head to feet
CORONAL = (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)
OBLIQUE = (0.8, 0.6, 0, -0.6, 0.8, 0)
ORIENTATIONS = {"axial": AXIAL, "reversed": REVERSED, "coronal": CORONAL, "sagittal": SAGITTAL, "oblique": OBLIQUE}


def world(tmp_path, labels, orientation=AXIAL, spacing=(2.0, 1.5, 3.0), write=write_series, **options):
    """A series and a label map (columns, rows, slices) on its grid; the series, and the label map's file."""
    target = tmp_path / "series" if write is write_series else tmp_path / "series" / "all.dcm"
    write(target, phantom(labels.shape), orientation=orientation, spacing=spacing, **options)
    series = choose_series(find_series(tmp_path / "series"))
    file = tmp_path / "case_1.nii.gz"
    write_volume(file, labels, series_grid(series).affine)
    return series, file


def kidneys():
    """Two kidneys, a tumour and two cysts in an axial series: (columns, rows, slices)."""
    return np.ascontiguousarray(abdomen().transpose(2, 1, 0)[:, :, 1:34:2])


def planes(segmentation):
    """(segment number, position of the first voxel) -> the frame, by pydicom alone."""
    file = pydicom.dcmread(segmentation)
    found = {}
    for frame, groups in zip(file.pixel_array, file.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[number, tuple(groups.PlanePositionSequence[0].ImagePositionPatient)] = frame
    return found


def checked(path):
    """Errors that dciodvfy finds."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith(("Error", "Abort"))]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_frame_lies_where_its_source_slice_does_and_holds_the_label_maps_voxels(name, tmp_path):
    labels = kidneys()
    series, file = world(tmp_path, labels, ORIENTATIONS[name])
    written = write_case("case_1", file, series, tmp_path)
    segments = [one.rpartition(" ")[0] for one in written.segments]
    found = planes(written.segmentation)
    seen = np.zeros_like(labels)
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / "series").iterdir()]
    for source in sources:
        k = labels.shape[2] - int(source.InstanceNumber)  # as write_series numbers them
        for (segment, place), frame in found.items():
            if place == tuple(source.ImagePositionPatient):
                value = {"Kidn": 1, "Tumo": 2, "Cyst": 3}[segments[segment - 1][:4]]
                seen[:, :, k][frame.T > 0] = value
    assert np.array_equal(seen, labels)
    assert all(frame.any() for frame in found.values())


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_highdicom_reads_the_label_map_back_on_the_same_places_in_space(name, tmp_path):
    labels = kidneys()
    series, file = world(tmp_path, labels, ORIENTATIONS[name])
    written = write_case("case_1", file, series, tmp_path)
    seg = hd.seg.segread(written.segmentation)
    volume = seg.get_volume(combine_segments=True, skip_overlap_checks=True)
    types = {n: seg.get_segment_description(n).segmented_property_type.meaning for n in seg.segment_numbers}
    index = np.argwhere(volume.array)
    lps = volume.map_indices_to_reference(index)
    affine = nib.load(file).affine
    ijk = nib.affines.apply_affine(np.linalg.inv(affine), lps * (-1, -1, 1))
    assert np.abs(ijk - np.round(ijk)).max() < 1e-3
    back = np.zeros_like(labels)
    values = {"Kidney": 1, "Neoplasm": 2, "Cyst": 3}
    back[tuple(np.round(ijk).astype(int).T)] = [values[types[n]] for n in volume.array[tuple(index.T)]]
    assert np.array_equal(back, labels)


def test_simpleitk_reads_the_frames_too(tmp_path):
    series, file = world(tmp_path, kidneys())
    written = write_case("case_1", file, series, tmp_path)
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(written.segmentation)))
    assert np.array_equal(frames > 0, pydicom.dcmread(written.segmentation).pixel_array > 0)
    assert np.count_nonzero(frames) == np.count_nonzero(kidneys())


@pytest.mark.parametrize("name", ["axial", "reversed", "coronal"])
def test_dcmqi_reads_the_same_voxels_in_the_same_places_and_the_same_numbers(name, tmp_path):
    programs = {one: shutil.which(one) for one in ("segimage2itkimage", "tid1500reader")}
    if None in programs.values():
        pytest.skip("dcmqi is not installed")
    labels = kidneys()
    series, file = world(tmp_path, labels, ORIENTATIONS[name])
    written = write_case("case_1", file, series, tmp_path)
    out = tmp_path / "read"
    out.mkdir()
    by_file = ["--outputDirectory", str(out), "--outputType", "nii"]
    line = [programs["segimage2itkimage"], "--inputDICOM", str(written.segmentation), *by_file]
    subprocess.run(line, check=True, capture_output=True)
    back = np.zeros_like(labels)
    for number, label in enumerate(written.segments, 1):
        image = nib.load(out / f"{number}.nii.gz")
        places = nib.affines.apply_affine(image.affine, np.argwhere(image.get_fdata() > 0))
        index = nib.affines.apply_affine(np.linalg.inv(nib.load(file).affine), places).round().astype(int)
        back[tuple(index.T)] = {"K": 1, "T": 2, "C": 3}[label[0]]
    assert np.array_equal(back, labels)
    line = [programs["tid1500reader"], "--inputDICOM", str(written.report), "--outputMetadata", str(out / "sr.json")]
    subprocess.run(line, check=True, capture_output=True)
    groups = json.loads((out / "sr.json").read_text())["Measurements"]
    volumes = {group["TrackingIdentifier"]: float(group["measurementItems"][0]["value"]) for group in groups}
    (tumor,) = (value for label, value in volumes.items() if label.startswith("Tumor"))
    assert tumor == pytest.approx(np.count_nonzero(labels == 2) * 2.0 * 1.5 * 3.0 / 1000)


@pytest.mark.parametrize("order", ["forwards", "shuffled"])
def test_the_frames_of_an_enhanced_file_are_referred_to_whatever_their_order(order, tmp_path):
    labels = np.zeros((24, 20, 6), np.uint8)
    labels[2:9, 3:9, 1:5], labels[5:7, 4:6, 2:4], labels[15:20, 4:9, 0] = 1, 2, 1
    frames = range(6) if order == "forwards" else [3, 0, 5, 1, 4, 2]
    series, file = world(tmp_path, labels, write=write_enhanced, order=frames)
    written = write_case("case_1", file, series, tmp_path)
    volume = hd.seg.segread(written.segmentation).get_volume(combine_segments=True, skip_overlap_checks=True)
    lps = volume.map_indices_to_reference(np.argwhere(volume.array))
    ijk = nib.affines.apply_affine(np.linalg.inv(nib.load(file).affine), lps * (-1, -1, 1)).round().astype(int)
    assert sorted(map(tuple, ijk)) == sorted(map(tuple, np.argwhere(labels)))
    assert checked(written.segmentation) == []


@settings(max_examples=8, deadline=None)
@given(
    across=st.sampled_from([(a, s) for a in range(3) for s in (-1, 1)]),
    down=st.sampled_from([(1, 1), (1, -1), (2, 1), (2, -1)]),
    seed=st.integers(0, 99),
)
def test_any_orientation_and_any_label_map_keeps_each_voxel_in_its_place(across, down, seed, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("any")
    orientation = np.zeros(6)
    orientation[across[0]], orientation[3 + (across[0] + down[0]) % 3] = across[1], down[1]
    labels = ragged(seed, (9, 7, 5), 0.04)
    labels[4, 3, 2] = 1
    series, file = world(tmp_path, labels, tuple(orientation))
    written = write_case("case_1", file, series, tmp_path)
    seg = hd.seg.segread(written.segmentation)
    volume = seg.get_volume(combine_segments=True, skip_overlap_checks=True)
    lps = volume.map_indices_to_reference(np.argwhere(volume.array))
    ijk = nib.affines.apply_affine(np.linalg.inv(nib.load(file).affine), lps * (-1, -1, 1)).round().astype(int)
    assert sorted(map(tuple, ijk)) == sorted(map(tuple, np.argwhere(labels)))


def test_segments_that_touch_stay_apart_and_share_no_voxel(tmp_path):
    labels = np.zeros((30, 20, 6), np.uint8)
    labels[2:12, 4:16, :] = 1
    labels[4:6, 6:9, 1:4], labels[6:8, 6:9, 1:4], labels[8:9, 9:11, 2] = 2, 3, 2  # a tumour, a cyst, a second tumour
    series, file = world(tmp_path, labels)
    written = write_case("case_1", file, series, tmp_path)
    assert [one.partition(",")[0] for one in written.segments] == ["Kidney", "Tumor 1", "Tumor 2", "Cyst 1"]
    seg = hd.seg.segread(written.segmentation)
    volume = seg.get_volume(combine_segments=True)  # refuses voxels of two segments
    assert {n: int((volume.array == n).sum()) for n in (2, 3, 4)} == {2: 18, 3: 2, 4: 18}


def test_lesions_of_a_kind_and_side_are_one_segment_where_structures_are_asked_for(tmp_path):
    series, file = world(tmp_path, kidneys())
    written = write_case("case_1", file, series, tmp_path, each="structure")
    assert written.segments == ("Kidney, right", "Kidney, left", "Tumors, right", "Cysts, left")
    volume = hd.seg.segread(written.segmentation).get_volume(combine_segments=True)
    assert (volume.array == 4).sum() == (kidneys() == 3).sum()
    report = hd.sr.srread(written.report)
    tumor, first, second = (
        group
        for group in report.content.get_image_measurement_groups()
        if group.finding_type.meaning in ("Neoplasm", "Cyst")
    )
    assert [group.tracking_identifier for group in (tumor, first, second)] == [
        "Tumor 1, right",
        "Cyst 1, left",
        "Cyst 2, left",
    ]


def test_the_segmentation_says_what_it_is_of_whom_and_by_what(tmp_path):
    series, file = world(tmp_path, kidneys())
    written = write_case("case_1", file, series, tmp_path, Author("my_model"))
    seg = pydicom.dcmread(written.segmentation)
    source = pydicom.dcmread(series.files[0])
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SegmentationType == "BINARY"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    referred = {one.ReferencedSOPInstanceUID for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referred == {frame.file.instance for frame in series.frames}
    assert "research use only" in seg.SeriesDescription
    assert "research use only" in seg.ContentDescription
    kidney, _, tumor, *_ = seg.SegmentSequence
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeValue == codes.SCT.Kidney.value
    side = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodeValue, side.CodeMeaning) == (codes.SCT.Right.value, "Right")
    assert tumor.SegmentedPropertyTypeCodeSequence[0].CodeValue == codes.SCT.Neoplasm.value
    assert tumor.AnatomicRegionSequence[0].CodeValue == codes.SCT.Kidney.value
    assert tumor.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeValue == codes.SCT.Right.value
    algorithm = tumor.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "nnunet_kits"
    assert "my_model" in algorithm.AlgorithmParameters
    red, green, blue = hd.color.CIELabColor.from_dicom_value(tumor.RecommendedDisplayCIELabValue).to_rgb()
    assert max(abs(red - 213), abs(green - 94), abs(blue - 0)) <= 2  # vermilion
    assert len({one.TrackingUID for one in seg.SegmentSequence}) == 5


@pytest.mark.parametrize("said_by", ["dataset.json", "--masses"])
def test_label_maps_of_masses_get_the_code_of_masses(said_by, tmp_path):
    labels = kidneys()
    _, file = world(tmp_path, np.where(labels == 3, 2, labels).astype(np.uint8))
    words = ["--masses"] if said_by == "--masses" else []
    if not words:
        named = {"background": 0, "kidney": 1, "mass": 2}
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": named, "channel_names": {"0": "CT"}}))
    assert main(["dicom", str(file), str(tmp_path / "series"), "-o", str(tmp_path / "out"), *words]) == 0
    segments = pydicom.dcmread(tmp_path / "out" / "case_1.seg.dcm").SegmentSequence
    types = {one.SegmentLabel: one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in segments}
    assert len(types) == 5
    assert {value for name, value in types.items() if name.startswith("Mass")} == {"4147007"}


def test_every_number_of_the_report_is_that_of_measures_csv_and_json(tmp_path, capsys):
    _, file = world(tmp_path, kidneys(), spacing=(1.9, 1.3, 2.7))
    assert main(["dicom", str(file), str(tmp_path / "series"), "-o", str(tmp_path / "out"), "--model", "m"]) == 0
    line = ["measure", str(file), "--images", str(tmp_path / "series"), "-o", str(tmp_path / "measured")]
    assert main(line) == 0
    with open(tmp_path / "measured" / "measures.csv") as handle:
        rows = list(csv.DictReader(handle))
    content = json.loads((tmp_path / "measured" / "measures.json").read_text())["cases"]["case_1"]["structures"]
    report = hd.sr.srread(tmp_path / "out" / "case_1.sr.dcm")
    segmentation = pydicom.dcmread(tmp_path / "out" / "case_1.seg.dcm")
    volumes = report.content.get_volumetric_roi_measurement_groups()
    groups = [*volumes, *report.content.get_image_measurement_groups()]
    assert len(groups) == len(rows) == 7
    assert len(volumes) == 5
    by_name = {group.tracking_identifier: group for group in groups}
    for row, exact in zip(rows, content, strict=True):
        name = row["structure"].replace("_and_mass", " with masses").capitalize()
        number = "" if row["structure"].startswith("kidney") else f" {row['component']}"
        group = by_name[f"{name}{number}, {row['side']}"]
        numbers = {
            (m.name.meaning, m.derivation.meaning if m.derivation else None): (m.value, m.unit.value)
            for m in group.get_measurements()
        }
        for column, key in {
            "volume_ml": ("Volume", None),
            "axial_diameter_cm": ("Long axis", None),
            "diameter_3d_cm": ("Maximum 3D Diameter of a Mesh", None),
            "hu_mean": ("Attenuation Coefficient", "Mean"),
            "hu_sd": ("Attenuation Coefficient", "Standard Deviation"),
        }.items():
            value, unit = numbers[key]
            assert value == exact[column]
            assert f"{value:.4f}" == row[column]
            assert unit == {"ml": "mL", "cm": "cm"}.get(column.rpartition("_")[2], "[hnsf'U]")
        (site,) = group.finding_sites
        assert (site.value.meaning, site.laterality.meaning.lower()) == ("Kidney", row["side"])
    for group in volumes:
        number = group.referenced_segment.referenced_segment_numbers[0]
        assert group.referenced_segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        described = segmentation.SegmentSequence[number - 1]
        assert described.SegmentLabel == group.tracking_identifier
        assert described.TrackingUID == group.tracking_uid
        assert described.SegmentedPropertyTypeCodeSequence[0].CodeValue == group.finding_type.value
    assert report.VerificationFlag == "UNVERIFIED"
    assert "research use only" in report.SeriesDescription


@pytest.mark.parametrize("name", ["axial", "coronal", "oblique"])
@pytest.mark.parametrize("each", ["lesion", "structure"])
def test_dciodvfy_finds_no_error_in_either_file(name, each, tmp_path):
    series, file = world(tmp_path, kidneys(), ORIENTATIONS[name])
    written = write_case("case_1", file, series, tmp_path, Author("my_model"), each)
    assert (checked(written.segmentation), checked(written.report)) == ([], [])


def test_of_an_empty_label_map_nothing_is_written_and_what_an_earlier_one_left_is_removed(tmp_path, capsys):
    labels = kidneys()
    series, file = world(tmp_path, labels)
    line = ["dicom", str(file), str(tmp_path / "series"), "-o", str(tmp_path / "out")]
    assert main(line) == 0
    write_volume(file, np.zeros_like(labels), series_grid(series).affine)
    capsys.readouterr()
    assert main(line) == 0
    assert "a segmentation has at least one segment" in capsys.readouterr().out
    assert list((tmp_path / "out").iterdir()) == []
    source, found = open_source(series), segments_of(read_labels(file))
    with pytest.raises(ImageError, match="at least one segment and one frame"):
        write_segmentation(tmp_path / "x.dcm", source, found, Author())


def test_a_label_map_on_another_grid_is_refused_with_the_numbers(tmp_path, capsys):
    labels = kidneys()
    series, file = world(tmp_path, labels)
    affine = series_grid(series).affine.copy()
    line = ["dicom", str(file), str(tmp_path / "series"), "-o", str(tmp_path / "out")]
    write_volume(file, np.ascontiguousarray(labels[:-1]), affine)
    assert main(line) == 2
    assert "the image is (90, 40, 17) but the label map is (89, 40, 17)" in capsys.readouterr().err
    affine[2, 3] += 1.5
    write_volume(file, labels, affine)
    assert main(line) == 2
    assert "differ by up to 1.5 mm" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_labels_without_their_series_are_refused(tmp_path, capsys):
    series, file = world(tmp_path, kidneys())
    assert main(["dicom", str(file), str(file), "-o", str(tmp_path / "out")]) == 2
    assert "holds no DICOM series" in capsys.readouterr().err
    for path in series.files:
        slice_ = pydicom.dcmread(path)
        del slice_.FrameOfReferenceUID
        slice_.save_as(path)
    assert main(["dicom", str(file), str(tmp_path / "series"), "-o", str(tmp_path / "out")]) == 2
    assert "has no FrameOfReferenceUID" in capsys.readouterr().err


def test_of_an_uneven_series_nothing_is_written_and_nothing_is_advised_that_this_verb_cannot_do(tmp_path, capsys):
    labels = kidneys()
    write_series(tmp_path / "ct", phantom(labels.shape), change=lambda number, made: number != 5)
    write_volume(tmp_path / "case_1.nii.gz", labels, np.diag([-1.0, -1, 1, 1]))
    out = tmp_path / "out"
    assert main(["dicom", str(tmp_path / "case_1.nii.gz"), str(tmp_path / "ct"), "-o", str(out)]) == 2
    told = capsys.readouterr().err
    assert "1 slices are missing, the first after slice 5 of" in told
    assert "--resample-tilt of segment, predict, measure and report" in told
    assert "results of a resampled series cannot be written as DICOM" in told
    assert not out.exists()


def test_slices_of_several_frames_of_reference_are_referred_to_with_a_warning(tmp_path, caplog):
    labels = kidneys()

    def anonymise(number, made):
        made.FrameOfReferenceUID = f"1.2.3.9.{number + 1}"

    series, file = world(tmp_path, labels, change=anonymise)
    written = write_case("case_1", file, series, tmp_path)
    assert f"state {labels.shape[2]} frames of reference" in caplog.text
    assert pydicom.dcmread(written.segmentation).FrameOfReferenceUID == "1.2.3.9.1"
    assert checked(written.segmentation) == []


def test_without_highdicom_the_extra_is_named(tmp_path, monkeypatch):
    series, file = world(tmp_path, kidneys())
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(KitsError, match=r"pip install 'nnunet_kits\[dicom\]'"):
        write_case("case_1", file, series, tmp_path)


def test_nothing_measured_is_no_report(tmp_path):
    series, file = world(tmp_path, kidneys())
    source, found = open_source(series), segments_of(read_labels(file))
    seg = write_segmentation(tmp_path / "x.dcm", source, found, Author())
    from nnunet_kits.measurement import Measures

    with pytest.raises(ImageError, match="nothing was measured"):
        write_measures(tmp_path / "y.dcm", source, Measures(0.0, "image"), seg, found, Author())


def test_every_voxel_that_is_not_background_belongs_to_one_part_of_its_kind():
    labels = ragged(5, (12, 14, 10))
    numbers, parts = numbered_parts(labels, np.diag([2.0, 2.0, 3.0, 1.0]), 12.0)
    values = {"kidney": 1, "tumor": 2, "cyst": 3}
    assert np.array_equal(np.array([0, *(values[part.name] for part in parts)])[numbers], labels)


@pytest.mark.parametrize(
    "code",
    [
        KIDNEY,
        *SIDES.values(),
        *(code for one in STRUCTURES.values() for code in (one.category, one.type)),
        *(code for one in QUANTITIES.values() for code in (one.name, one.derivation, one.method) if code is not None),
    ],
)
def test_codes_are_those_of_the_standards_dictionaries(code):
    value, scheme, meaning = code
    concepts = getattr(codes, scheme)
    assert (value, meaning) in {
        (getattr(concepts, key).value, getattr(concepts, key).meaning) for key in concepts.dir()
    }

"""RT structure sets: their outlines hold the label map's voxels, where the scanner's slices lie."""

import numpy as np
import pydicom
import pytest
from dicom_series import write_enhanced
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.path import Path as Outline
from scipy import ndimage
from skimage.measure import points_in_poly
from test_dicom_output import ORIENTATIONS, checked, kidneys, world

from nnunet_kits.cli.main import main
from nnunet_kits.dicom_output import Author, write_case
from nnunet_kits.dicom_output.outlines import outlines


def masks():
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
    noise = arrays.arrays(bool, shapes)
    return st.one_of(noise, noise.map(lambda mask: ndimage.binary_dilation(mask)), noise.map(lambda mask: ~mask))


@given(masks())
@settings(max_examples=300, deadline=None)
def test_a_voxel_is_in_the_mask_just_where_its_middle_lies_inside_an_outline(mask):
    rows, columns = np.indices(mask.shape)
    middles = np.column_stack([columns.ravel(), rows.ravel()])
    by_parity, by_winding = np.zeros(mask.size, int), np.zeros(mask.size, int)
    for ring in outlines(mask):
        assert not np.array_equal(ring[0], ring[-1])
        by_parity += points_in_poly(middles, ring)
        by_winding += Outline(np.vstack([ring, ring[:1]])).contains_points(middles)
    assert np.array_equal(by_parity.reshape(mask.shape), mask)  # in one outline each, not in two
    assert np.array_equal(by_winding.reshape(mask.shape), mask)


def test_an_outline_encloses_the_mask_but_for_its_corners():
    mask = np.zeros((40, 50), bool)
    mask[5:35, 4:44] = True
    mask[10:20, 12:22] = False
    (ring,) = outlines(mask)
    x, y = ring.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == mask.sum() - 4 / 8 + 4 / 8  # an eighth of a voxel less at each corner, more at each of the hole's


def voxels_of(structure_set, series, shape):
    """ROI name -> voxels (columns, rows, slices), by pydicom, the slices' own headers, and matplotlib."""
    columns, rows = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    middles = np.column_stack([columns.ravel(), rows.ravel()])
    places = {frame.file.instance: number for number, frame in enumerate(series.frames)}
    headers = {header.SOPInstanceUID: header for header in map(pydicom.dcmread, series.files)}
    names = {roi.ROINumber: roi.ROIName for roi in structure_set.StructureSetROISequence}
    found = {}
    for roi in structure_set.ROIContourSequence:
        voxels = found.setdefault(names[roi.ReferencedROINumber], np.zeros(shape, bool))
        for contour in roi.ContourSequence:
            (referred,) = contour.ContourImageSequence
            header = headers[referred.ReferencedSOPInstanceUID]
            frame, number = header, places[referred.ReferencedSOPInstanceUID]
            if "ReferencedFrameNumber" in referred:
                number = int(referred.ReferencedFrameNumber) - 1
                frame = header.PerFrameFunctionalGroupsSequence[number]
                common = header.SharedFunctionalGroupsSequence[0]
                position = frame.PlanePositionSequence[0].ImagePositionPatient
                orientation = (frame if "PlaneOrientationSequence" in frame else common).PlaneOrientationSequence[0]
                orientation = orientation.ImageOrientationPatient
                spacing = (frame if "PixelMeasuresSequence" in frame else common).PixelMeasuresSequence[0].PixelSpacing
            else:
                position, orientation = header.ImagePositionPatient, header.ImageOrientationPatient
                spacing = header.PixelSpacing
            apart = np.reshape(np.array(contour.ContourData, float), (-1, 3)) - np.array(position, float)
            assert len(apart) == contour.NumberOfContourPoints
            across, down = np.reshape(np.array(orientation, float), (2, 3))
            assert np.abs(apart @ np.cross(across, down)).max() < 2e-3  # in the slice's plane
            ring = np.column_stack([apart @ across / spacing[1], apart @ down / spacing[0]])
            inside = Outline(np.vstack([ring, ring[:1]])).contains_points(middles).reshape(shape[:2])
            voxels[:, :, number] |= inside
    return found


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_outlines_hold_the_label_maps_voxels_on_the_slices_that_they_refer_to(name, tmp_path):
    labels = kidneys()
    labels[(labels == 1) & (np.indices(labels.shape).sum(0) % 7 == 0)] = 0  # holes, to the kidneys' edge
    series, file = world(tmp_path, labels, ORIENTATIONS[name], spacing=(1.3, 0.9, 2.5))
    written = write_case("case_1", file, series, tmp_path, rtstruct=True)
    made = pydicom.dcmread(written.structure_set)
    found = voxels_of(made, series, labels.shape)
    assert tuple(found) == written.segments
    assert sum(map(np.asarray, found.values())).max() == 1
    for kind, label in (("Kidney", 1), ("Tumor", 2), ("Cyst", 3)):
        assert np.array_equal(np.any([v for n, v in found.items() if n.startswith(kind)], axis=0), labels == label)
    assert checked(written.structure_set) == []


def test_outlines_refer_to_the_frames_of_an_enhanced_series(tmp_path):
    labels = kidneys()
    series, file = world(tmp_path, labels, write=write_enhanced)
    written = write_case("case_1", file, series, tmp_path, rtstruct=True)
    found = voxels_of(pydicom.dcmread(written.structure_set), series, labels.shape)
    assert np.array_equal(sum(map(np.asarray, found.values())), labels > 0)
    assert checked(written.structure_set) == []


def test_a_structure_set_says_what_it_is_and_whose(tmp_path):
    series, file = world(tmp_path, kidneys())
    written = write_case("case_1", file, series, tmp_path, Author("my_model", masses=True), rtstruct=True)
    made, source = pydicom.dcmread(written.structure_set), pydicom.dcmread(series.files[0])
    assert (made.Modality, made.SeriesNumber, made.ApprovalStatus) == ("RTSTRUCT", 303, "UNAPPROVED")
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[keyword].value == source[keyword].value
    assert "research use only" in made.SeriesDescription
    assert "my_model" in made.StructureSetDescription
    (frame,) = made.ReferencedFrameOfReferenceSequence
    (referred,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert referred.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(referred.ContourImageSequence) == len(series.frames)
    kidney, *_, mass = made.RTROIObservationsSequence
    code = kidney.RTROIIdentificationCodeSequence[0]
    side = code.SegmentedPropertyTypeModifierCodeSequence[0]
    assert (code.CodeMeaning, side.CodeMeaning, kidney.RTROIInterpretedType) == ("Kidney", "Right", "ORGAN")
    assert mass.RTROIInterpretedType == ""
    assert {roi.ROIGenerationAlgorithm for roi in made.StructureSetROISequence} == {"AUTOMATIC"}
    colours = {tuple(map(int, roi.ROIDisplayColor)) for roi in made.ROIContourSequence}
    assert (213, 94, 0) in colours  # vermilion


def test_the_command_writes_one_when_asked_and_leaves_none_of_an_earlier_label_map(tmp_path):
    _, file = world(tmp_path, kidneys())
    line = ["dicom", str(file), str(tmp_path / "series"), "-o", str(tmp_path / "out")]
    names = {"case_1.seg.dcm", "case_1.sr.dcm"}
    for more, expected in (([], names), (["--rtstruct"], names | {"case_1.rtstruct.dcm"}), ([], names)):
        assert main([*line, *more]) == 0
        assert {path.name for path in (tmp_path / "out").iterdir()} == expected

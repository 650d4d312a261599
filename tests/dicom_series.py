"""CT written as DICOM by pydicom: classic series, a file a slice, and enhanced multi-frame files."""

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)


def place_of(orientation, spacing, origin):
    """(4, 4) index (column, row, slice) to DICOM's millimetres, of slices stacked along their normal."""
    across, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    made = np.eye(4)
    made[:3, :3] = np.stack([across, down, np.cross(across, down)], 1) * spacing
    made[:3, 3] = origin
    return made


def phantom(shape=(24, 20, 6), seed=0):
    """HU (columns, rows, slices), no two slices alike."""
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def data_set(series, sop_class=CTImageStorage, **values):
    """A CT image without voxels."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, generate_uid()
    made.PatientID, made.PatientName, made.PatientBirthDate, made.PatientSex = "P1", "Phantom", "", ""
    made.StudyDate = made.StudyTime = made.AccessionNumber = made.ReferringPhysicianName = made.StudyID = ""
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.3", series, "1.2.3.9"
    made.PositionReferenceIndicator = made.Manufacturer = ""
    made.Modality, made.SeriesNumber, made.SeriesDescription, made.BodyPartExamined = "CT", 3, "thin", "ABDOMEN"
    made.AcquisitionNumber, made.KVP = 1, 120
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def save(made, path, syntax=ExplicitVRLittleEndian):
    """Write a data set as a DICOM file; compressed where the syntax is."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax.is_compressed else syntax
    little = syntax.is_compressed or syntax.is_little_endian
    file = FileDataset(str(path), made, b"\0" * 128, meta, syntax.is_implicit_VR, little)
    if syntax.is_compressed:
        file.compress(syntax, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder,
    array,
    orientation=AXIAL,
    spacing=(0.8, 0.8, 2.5),
    origin=(-100.0, -80.0, 50.0),
    rescale=(1, -1024),
    change=lambda number, made: None,
    names="{:03}.dcm",
    syntax=ExplicitVRLittleEndian,
    series=None,
    **values,
):
    """Write HU (columns, rows, slices) as a classic series: file ``names`` of each slice.

    Args:
        change: is given each slice's number and data set before it is written; leaves it out where it returns False.
    """
    series = series or generate_uid()
    affine = place_of(orientation, spacing, origin)
    files = []
    for number in range(array.shape[2]):
        slope, intercept = rescale(number) if callable(rescale) else rescale
        stored = np.round((array[:, :, number].T - intercept) / slope)
        made = data_set(series, **values)
        kind = np.int16 if made.PixelRepresentation else np.uint16
        made.Rows, made.Columns = stored.shape
        made.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
        made.SliceThickness = spacing[2]
        made.ImageOrientationPatient = [f"{x:.10g}"[:16] for x in orientation]
        made.ImagePositionPatient = [f"{x:.10g}"[:16] for x in affine[:3] @ (0, 0, number, 1)]
        made.InstanceNumber = array.shape[2] - number
        made.RescaleSlope, made.RescaleIntercept, made.RescaleType = slope, intercept, "HU"
        made.PixelData = stored.astype(kind).tobytes()
        if change(number, made) is not False:
            files.append(save(made, folder / names.format(number), syntax))
    return files


def item(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def write_enhanced(
    path, array, orientation=AXIAL, spacing=(0.8, 0.8, 2.5), origin=(-100.0, -80.0, 50.0), order=None, slope=1, **values
):
    """Write HU (columns, rows, slices) as one enhanced multi-frame file, its frames in any order."""
    affine = place_of(orientation, spacing, origin)
    syntax = values.pop("syntax", ExplicitVRLittleEndian)
    made = data_set(generate_uid(), EnhancedCTImageStorage, **values)
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    order = list(order if order is not None else range(array.shape[2]))
    made.NumberOfFrames, made.Rows, made.Columns = len(order), array.shape[1], array.shape[0]
    measures = item(PixelSpacing=[spacing[1], spacing[0]], SliceThickness=spacing[2])
    shared = item(
        PixelMeasuresSequence=Sequence([measures]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[float(x) for x in orientation])]),
        CTImageFrameTypeSequence=Sequence([item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])]),
    )
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, stored = [], []
    for number in order:
        intercept = -1024 - number
        place = [float(x) for x in affine[:3] @ (0, 0, number, 1)]
        frames.append(
            item(
                PlanePositionSequence=Sequence([item(ImagePositionPatient=place)]),
                FrameContentSequence=Sequence([item(StackID="1", InStackPositionNumber=number + 1)]),
                PixelValueTransformationSequence=Sequence(
                    [item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")]
                ),
            )
        )
        stored.append(np.round((array[:, :, number].T - intercept) / slope).astype(np.uint16))
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    made.PixelData = np.stack(stored).tobytes()
    return save(made, path, syntax)

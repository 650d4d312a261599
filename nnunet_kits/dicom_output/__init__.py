"""Results as DICOM: segmentations, measures (TID 1500) and RT structure sets that refer to the CT's own series."""

from nnunet_kits.dicom_output.files import Results, write_case, write_files
from nnunet_kits.dicom_output.measures import write_measures
from nnunet_kits.dicom_output.segmentation import write_segmentation
from nnunet_kits.dicom_output.segments import Segment, segments_of
from nnunet_kits.dicom_output.source import Author, Source, open_source
from nnunet_kits.dicom_output.structure_set import write_structure_set

__all__ = [
    "Author",
    "Results",
    "Segment",
    "Source",
    "open_source",
    "segments_of",
    "write_case",
    "write_files",
    "write_measures",
    "write_segmentation",
    "write_structure_set",
]

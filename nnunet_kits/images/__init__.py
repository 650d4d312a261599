"""CT and label files: read whole and checked, as nnU-Net's readers would where asked, and written atomically."""

from nnunet_kits.images.any_ct import CtSource, files_of, name_of, output_ending, read_any_ct, read_any_grid, write_like
from nnunet_kits.images.dicom import SeriesVolume, read_headers, read_series, series_grid
from nnunet_kits.images.foreign import CT_ENDINGS
from nnunet_kits.images.grid import AFFINE_TOLERANCE_MM, Grid, check_placed, check_same_grid
from nnunet_kits.images.label_maps import LabelMap, checked_labels, count_labels, read_labels
from nnunet_kits.images.label_names import calls_masses, check_names
from nnunet_kits.images.nifti import NIFTI, Volume, read_ct, read_grid, read_integers, read_volume, write_volume
from nnunet_kits.images.readers import AxisOrder, Scan, axis_order, read_ct_scan, read_scan
from nnunet_kits.images.series import Found, Series, choose_series, find_series

__all__ = [
    "AFFINE_TOLERANCE_MM",
    "CT_ENDINGS",
    "NIFTI",
    "AxisOrder",
    "CtSource",
    "Found",
    "Grid",
    "LabelMap",
    "Scan",
    "Series",
    "SeriesVolume",
    "Volume",
    "axis_order",
    "calls_masses",
    "check_names",
    "check_placed",
    "check_same_grid",
    "checked_labels",
    "choose_series",
    "count_labels",
    "files_of",
    "find_series",
    "name_of",
    "output_ending",
    "read_any_ct",
    "read_any_grid",
    "read_ct",
    "read_ct_scan",
    "read_grid",
    "read_headers",
    "read_integers",
    "read_labels",
    "read_scan",
    "read_series",
    "read_volume",
    "series_grid",
    "write_like",
    "write_volume",
]

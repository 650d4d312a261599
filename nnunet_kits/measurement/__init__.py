"""Measure kidneys, tumours and cysts in label maps."""

from nnunet_kits.measurement.files import measure_files
from nnunet_kits.measurement.measure import COLUMNS, Measure, Measures, measure_labels

__all__ = ["COLUMNS", "Measure", "Measures", "measure_files", "measure_labels"]

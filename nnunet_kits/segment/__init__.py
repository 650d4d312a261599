"""From CTs to everything by one call: label maps, measures, DICOM results, pictures and a report."""

from nnunet_kits.segment.models import Models
from nnunet_kits.segment.run import Patient, Segmented, segment

__all__ = ["Models", "Patient", "Segmented", "segment"]

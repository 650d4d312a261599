"""nnU-Net's dataset.json for a KiTS release."""

from typing import Any

from nnunet_kits import __version__
from nnunet_kits.labels import REGION_LABEL, Label, regions_of
from nnunet_kits.releases import Release

LABEL_MODES = ("classes", "regions")
READER = "NibabelIOWithReorient"
"""Brings KiTS's (slices, rows, columns) files to RAS, so that nnU-Net sees the slice axis first.

See docs/explanation/geometry.md.
"""


def dataset_json(release: Release, name: str, label_mode: str, training_cases: int) -> dict[str, Any]:
    """The content of dataset.json.

    Args:
        release: the year.
        name: what follows ``DatasetNNN_``.
        label_mode: ``classes`` (kidney, tumor, cyst exclude each other) or ``regions`` (the challenge's HECs).
        training_cases: files in imagesTr.
    """
    content: dict[str, Any] = {
        "channel_names": {"0": "CT"},
        "labels": {"background": int(Label.BACKGROUND)},
        "numTraining": training_cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": READER,
        "name": name,
        "description": release.description,
        "reference": release.reference,
        "url": release.url,
        "licence": release.licence,
        "release": release.edition,
        "converted_by": f"nnunet_kits {__version__}",
    }
    if label_mode == "classes":
        content["labels"].update({label.name.lower(): int(label) for label in release.labels})
        return content
    regions = regions_of(release.labels)
    for region, labels in regions.items():
        content["labels"][region] = [int(label) for label in labels] if len(labels) > 1 else int(labels[0])
    content["regions_class_order"] = [int(REGION_LABEL[region]) for region in regions]
    return content

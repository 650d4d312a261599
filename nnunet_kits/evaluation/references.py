"""Where the references are: a flat folder, or a KiTS folder of any year."""

from collections.abc import Sequence
from pathlib import Path

LABEL_FILES = {"19": "segmentation.nii.gz", "21": "aggregated_MAJ_seg.nii.gz", "23": "segmentation.nii.gz"}
DATA_FOLDERS = {"19": ("", "data"), "21": ("", "kits21/data", "data"), "23": ("", "dataset")}
SAMPLES = "segmentation_samples"
"""KiTS21's groups of sampled segmentations, ``group_N/*.nii.gz`` in a case's folder."""


class References:
    """The label maps of a year below a folder."""

    def __init__(self, folder: Path, year: str) -> None:
        self.folder, self.year = folder, year

    def of(self, case: str) -> Path | None:
        """The reference of a case; None where there is none."""
        flat = self.folder / f"{case}.nii.gz"
        if flat.is_file():
            return flat
        found = self._case_folder(case)
        file = found / LABEL_FILES[self.year] if found else None
        return file if file is not None and file.is_file() else None

    def not_among(self, cases: Sequence[str]) -> list[str]:
        """References of a flat folder that are not among some cases. A KiTS folder holds all cases, so none there."""
        known = set(cases)
        names = (file.name.removesuffix(".nii.gz") for file in sorted(self.folder.glob("*.nii.gz")))
        return [name for name in names if name not in known]

    def samples(self, case: str) -> tuple[Path, ...]:
        """KiTS21's sampled segmentations of a case, over all groups."""
        found = self._case_folder(case) if self.year == "21" else None
        return tuple(sorted(found.glob(f"{SAMPLES}/group*/*.nii.gz"))) if found else ()

    def _case_folder(self, case: str) -> Path | None:
        for data in DATA_FOLDERS[self.year]:
            if (self.folder / data / case).is_dir():
                return self.folder / data / case
        return None

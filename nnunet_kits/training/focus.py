"""Foreground oversampling that aims: at tumour, cyst and kidney voxels in given shares, in cases that have them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnunet_kits.errors import TrainingError
from nnunet_kits.labels import Label
from nnunet_kits.training.loaders import Bounds, ClassLocations, KitsLoader, foreground

DEFAULT_SHARES = {"tumor": 0.5, "cyst": 0.25, "kidney": 0.25}
"""Name of a label or region -> share of the patches that are made to show foreground."""

KEPT_LOCATIONS = 1000
"""Voxels kept of a case and label for which nnU-Net's preprocessing has no list of its own."""


def label_shares(
    given: Mapping[str, float] | None, labels: Mapping[str, Any], where: str
) -> dict[frozenset[int], float]:
    """Shares by sets of labels, adding up to 1.

    Args:
        given: shares by names: of dataset.json's labels and regions, or ``kidney``, ``tumor``, ``cyst`` of a dataset
            whose regions are made of them; None for ``DEFAULT_SHARES``, of which a dataset need not have all.
        labels: ``labels`` of dataset.json.
        where: begins the message.

    Raises:
        TrainingError: a name that the dataset does not have.
    """
    sets = {name: frozenset(value if isinstance(value, list) else [value]) for name, value in labels.items()}
    present = frozenset().union(*sets.values())
    known = {label.name.lower(): frozenset([int(label)]) for label in Label if int(label) in present}
    known = {**known, **sets}
    for name in ("background", "ignore"):
        known.pop(name, None)
    unknown = [] if given is None else [name for name in given if name not in known]
    shares = {name: share for name, share in (given or DEFAULT_SHARES).items() if name in known}
    if unknown or not shares:
        raise TrainingError(
            f"{where}: foreground_shares names {', '.join(unknown or DEFAULT_SHARES)}, but the dataset has "
            f"{', '.join(known)}. Name these in the plans, under kits_training."
        )
    total = sum(shares.values())
    return {known[name]: share / total for name, share in shares.items()}


def voxels_of(labels: frozenset[int], class_locations: ClassLocations, segmentation: Any) -> np.ndarray:
    """Voxels with these labels among those that nnU-Net's preprocessing has listed.

    Args:
        labels: one label, or several.
        class_locations: of the case.
        segmentation: (1, z, y, x), read only where neither the set nor its members have a list, and then only in the
            box around the smallest region that holds them.

    Returns:
        Voxels (n, 4): 0, z, y, x; n may be 0.
    """
    lists = {frozenset(k if isinstance(k, tuple) else [k]): v for k, v in foreground(class_locations).items()}
    if labels in lists:
        return lists[labels]
    listed = [frozenset(key if isinstance(key, tuple) else [key]) for key in class_locations]
    if all(frozenset([label]) in listed for label in labels):
        members = [lists[frozenset([label])] for label in labels if frozenset([label]) in lists]
        return np.concatenate(members) if members else np.empty((0, 4), int)
    around = min((key for key in lists if labels < key), key=len, default=None)
    if around is None:
        return np.empty((0, 4), int)
    voxels = lists[around]
    lower, upper = voxels.min(0), voxels.max(0) + 1
    box = np.asarray(segmentation[tuple(slice(int(a), int(b)) for a, b in zip(lower, upper, strict=True))])
    return voxels[np.isin(box[tuple((voxels - lower).T)], list(labels))]


class FocusLoader(KitsLoader):
    """For each patch that must show foreground: draws a set of labels by its share, a case that has them, a voxel.

    The other patches are drawn as nnU-Net draws them. Labels that no case has are left out, and the others take their
    share.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._kept: dict[tuple[frozenset[int], str], np.ndarray] = {}
        self.cases: dict[frozenset[int], list[str]] = {labels: [] for labels in self.shares}
        for case in self.indices:
            self._survey(case)
        self.cases = {labels: cases for labels, cases in self.cases.items() if cases}
        if not self.cases:
            raise TrainingError(
                f"none of the {len(self.indices)} training cases has a voxel that foreground_shares aims at "
                f"(labels {sorted(set().union(*self.shares))}). Look at the segmentations, or name others."
            )
        self._aims = list(self.cases)
        shares = np.array([self.shares[labels] for labels in self._aims])
        self._probabilities = shares / shares.sum()

    def _survey(self, case: str) -> None:
        _, segmentation, _, properties = self._data.load_case(case)
        locations = properties["class_locations"]
        listed = {frozenset(key if isinstance(key, tuple) else [key]) for key in locations}
        for labels, cases in self.cases.items():
            voxels = voxels_of(labels, locations, segmentation)
            if not len(voxels):
                continue
            cases.append(case)
            if labels not in listed:
                chosen = np.random.choice(len(voxels), min(len(voxels), KEPT_LOCATIONS), replace=False)
                self._kept[labels, case] = voxels[chosen].astype(np.int32)

    def plan(self) -> list[tuple[str, frozenset[int] | None]]:
        """The case of every patch of the next batch, and the labels that it aims at, or None."""
        planned = []
        for sample in range(self.batch_size):
            aim = None
            if self._oversample_last_XX_percent(sample):
                aim = self._aims[np.random.choice(len(self._aims), p=self._probabilities)]
            cases = self.indices if aim is None else self.cases[aim]
            planned.append((cases[np.random.randint(len(cases))], aim))
        return planned

    def place(self, data_shape: Any, force_fg: bool, class_locations: ClassLocations) -> Bounds:
        """The patch's box, around a voxel of the drawn labels if ``force_fg``."""
        case, aim = self.now
        if force_fg and aim is not None:
            kept = self._kept.get((aim, case))
            class_locations = {0: voxels_of(aim, class_locations, None) if kept is None else kept}
        return super().place(data_shape, force_fg, class_locations)

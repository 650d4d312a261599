"""Samplings: which patches make a batch. Only names and numbers here; the loaders are in ``loaders``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """One sampling.

    Attributes:
        summary: one line for a list.
        loader: dotted path of the training loader, a subclass of nnU-Net's; None for nnU-Net's own.
        dimensions: of the patches it can make.
        images_per_case: images of a batch that are made of one patch; the batch must be a multiple of it.
        foreground_share: share of a batch that is made to show foreground, where the plans do not say; None for
            nnU-Net's.
        aims_at_tumor: whether it must know which labels are tumour.
    """

    summary: str
    loader: str | None = None
    dimensions: tuple[int, ...] = (2, 3)
    images_per_case: int = 1
    foreground_share: float | None = None
    aims_at_tumor: bool = False


SAMPLINGS: dict[str, Sampling] = {
    "Foreground": Sampling("nnU-Net's own: a third of the patches at a voxel of a class drawn from those of the case"),
    "TumorFocus": Sampling(
        "patches at tumour, cyst and kidney voxels in given shares, from cases that have them",
        "nnunet_kits.training.focus.FocusLoader",
    ),
    # Source: Chen and Jin, "A 2D U-Net for Automated Kidney and Renal Tumor Segmentation", KiTS19, section 3.4.
    "PositiveSlices": Sampling(
        "5 of 7 slices hold a labelled voxel, the others are drawn from all",
        "nnunet_kits.training.slices.PositiveSliceLoader",
        dimensions=(2,),
        foreground_share=5 / 7,
    ),
    # Source: as above, and the author's code: jchen42703/kits19-cnn, kits19cnn/io/generators.py.
    "LabelledSlices": Sampling(
        "5 of 7 slices are those of a labelled voxel, the others are drawn from all; each case once a pass",
        "nnunet_kits.training.slices.LabelledSliceLoader",
        dimensions=(2,),
        foreground_share=5 / 7,
    ),
    # Source: Beheshtifard, author's code: Hosein-Beheshti/Kidney-Tumor-Segmentation @ 30e3f22.
    "AllSlices": Sampling(
        "every slice of every case once a pass, empty ones too",
        "nnunet_kits.training.slices.AllSlicesLoader",
        dimensions=(2,),
        foreground_share=0.0,
    ),
    # Source: Zhang, "UNet-based Segmentation of Kidney and Kidney Tumor", figure 3.
    "TripleBatch": Sampling(
        "every patch once as it is and twice augmented: 2 patches make a batch of 6",
        "nnunet_kits.training.loaders.TripleLoader",
        images_per_case=3,
    ),
    # Source: as above, and the author's code: Yichizz/unet3d_kits19 @ db3054a, data_preparation.
    "TripleWindows": Sampling(
        "one window of each case a pass, those with tumour four times as likely, as it is and twice augmented",
        "nnunet_kits.training.windows.TripleWindowLoader",
        dimensions=(3,),
        images_per_case=3,
        aims_at_tumor=True,
    ),
}
"""Name in a trainer's name -> what it is."""

DEFAULT_SAMPLING = "Foreground"

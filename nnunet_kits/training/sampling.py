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
    """

    summary: str
    loader: str | None = None
    dimensions: tuple[int, ...] = (2, 3)
    images_per_case: int = 1
    foreground_share: float | None = None


SAMPLINGS: dict[str, Sampling] = {
    "Foreground": Sampling("nnU-Net's own: a third of the patches at a voxel of a class drawn from those of the case"),
    "TumorFocus": Sampling(
        "patches at tumour, cyst and kidney voxels in given shares, from cases that have them",
        "nnunet_kits.training.focus.FocusLoader",
    ),
    # Source: Chen and Jin, "A 2D U-Net for Automated Kidney and Renal Tumor Segmentation", KiTS19, section 3.4.
    "PositiveSlices": Sampling(
        "5 of 7 slices hold a labelled voxel, the others are drawn from all",
        "nnunet_kits.training.loaders.PositiveSliceLoader",
        dimensions=(2,),
        foreground_share=5 / 7,
    ),
    # Source: Zhang, "UNet-based Segmentation of Kidney and Kidney Tumor", figure 3.
    "TripleBatch": Sampling(
        "every patch once as it is and twice augmented: 2 patches make a batch of 6",
        "nnunet_kits.training.loaders.TripleLoader",
        images_per_case=3,
    ),
}
"""Name in a trainer's name -> what it is."""

DEFAULT_SAMPLING = "Foreground"

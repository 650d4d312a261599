"""Networks in plain torch, each found by its dotted path: in plans by nnU-Net itself, and by name by our trainers.

What every one is called with: :class:`nnunet_kits.architectures.topology.Topology`. Nothing of torch is imported here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        factory: dotted path of the class.
        summary: one line for a list.
        source: who described it.
    """

    factory: str
    summary: str
    source: str


ISENSEE = "Isensee and Maier-Hein, arXiv:1908.02182"
ZHANG = "Zhang, UNet-based Segmentation of Kidney and Kidney Tumor in 3D Computed Tomography Images"
CHEN_ZHANG = "Chen and Zhang, KiTS23"

NETWORKS: dict[str, Network] = {
    "PlainUNet": Network(
        "nnunet_kits.architectures.plain.PlainUNet", "two convolutions per stage, down and up", ISENSEE
    ),
    "ResUNet": Network(
        "nnunet_kits.architectures.residual.ResUNet", "residual blocks down, one convolution per stage up", ISENSEE
    ),
    "PreActResUNet": Network(
        "nnunet_kits.architectures.preactivation.PreActResUNet",
        "pre-activation residual blocks down, one convolution per stage up",
        ISENSEE,
    ),
    "ResUNet25D": Network(
        "nnunet_kits.architectures.anisotropic.ResUNet25D",
        "ResUNet that pools nothing along z",
        CHEN_ZHANG,
    ),
    "RecursiveUNet2D": Network(
        "nnunet_kits.architectures.recursive.RecursiveUNet2D",
        "2D only: max pooling down, bilinear upsampling up",
        "Chen and Jin, KiTS19",
    ),
    "LeakyUNet": Network(
        "nnunet_kits.architectures.zhang.LeakyUNet",
        "two convolutions per stage, leaky ReLU, norms without weights; one output",
        ZHANG,
    ),
    "SharedResUNet": Network(
        "nnunet_kits.architectures.zhang.SharedResUNet",
        "residual blocks down, of which those after a stage's first share their weights; one output",
        ZHANG,
    ),
    "SharedPreActResUNet": Network(
        "nnunet_kits.architectures.zhang.SharedPreActResUNet",
        "pre-activation blocks down, of which those after a stage's first share their weights; one output",
        ZHANG,
    ),
    "StemResUNet": Network(
        "nnunet_kits.architectures.stem.StemResUNet",
        "strided stem, stages of 3 residual blocks, linear interpolation up, batch norm",
        CHEN_ZHANG,
    ),
    "StemResUNet25D": Network(
        "nnunet_kits.architectures.anisotropic.StemResUNet25D",
        "StemResUNet that pools nothing along z, with instance norm",
        CHEN_ZHANG,
    ),
    "BatchNormUNet2D": Network(
        "nnunet_kits.architectures.recursive.BatchNormUNet2D",
        "2D only: max pooling down, nearest upsampling up, leaky ReLU before batch norm; one output",
        "Chen and Jin, KiTS19",
    ),
    "ResNet34UNet2D": Network(
        "nnunet_kits.architectures.pretrained.ResNet34UNet2D",
        "2D only: ResNet34 encoder, from ImageNet or random; one output",
        "Beheshtifard",
    ),
}
"""Name in a trainer's name -> what it is."""

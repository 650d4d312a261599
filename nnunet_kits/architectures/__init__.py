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
        "Chen and Zhang, KiTS23",
    ),
    "RecursiveUNet2D": Network(
        "nnunet_kits.architectures.recursive.RecursiveUNet2D",
        "2D only: max pooling down, bilinear upsampling up",
        "Chen and Jin, KiTS19",
    ),
    "ResNet34UNet2D": Network(
        "nnunet_kits.architectures.pretrained.ResNet34UNet2D",
        "2D only: ResNet34 encoder, from ImageNet or random; one output",
        "Beheshtifard",
    ),
}
"""Name in a trainer's name -> what it is."""

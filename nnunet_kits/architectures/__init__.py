"""Networks in plain torch, each found by its dotted path: in plans by nnU-Net itself, and by name by our trainers.

Every network takes ``(input_channels, num_classes, deep_supervision, **topology)``, where the topology is what any
nnU-Net plans file states: ``n_stages, features_per_stage, conv_op, kernel_sizes, strides``.
"""

NETWORKS: dict[str, str] = {
    "PlainUNet": "nnunet_kits.architectures.plain.PlainUNet",
    "ResUNet": "nnunet_kits.architectures.residual.ResUNet",
    "PreActResUNet": "nnunet_kits.architectures.preactivation.PreActResUNet",
    "ResUNet25D": "nnunet_kits.architectures.anisotropic.ResUNet25D",
    "RecursiveUNet2D": "nnunet_kits.architectures.recursive.RecursiveUNet2D",
    "ResNet34UNet2D": "nnunet_kits.architectures.pretrained.ResNet34UNet2D",
}
"""Name in a trainer's name -> dotted path of the class."""

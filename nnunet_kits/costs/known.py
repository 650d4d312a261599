"""What others have measured on KiTS23: from it the reckoning's constants come, and beside it they can be judged.

Patch, batch and topology are what nnU-Net 2.8.1's planners give a CT of 412 x 400 x 400 mm at 1 x 0.78 x 0.78 mm, near
nnU-Net's own spacing for KiTS23.
"""

from dataclasses import dataclass
from typing import Any

NETWORKS = "dynamic_network_architectures.architectures.unet."
NARROW, WIDE = (32, 64, 128, 256, 320, 320), (32, 64, 128, 256, 320, 320, 320)


@dataclass(frozen=True)
class Known:
    """A network that others have trained.

    Attributes:
        name: in their table.
        network: class of dynamic-network-architectures.
        features: of every stage.
        blocks: of every stage of the encoder.
        patch_size: voxels.
        forward_tflop: 10^12 operations of its convolutions for one image, once forward.
        outputs: elements that its layers give for one image.
        hours: of an A100, for 1000 epochs of one fold.
        gpu_gb: of its memory.
    """

    name: str
    network: str
    features: tuple[int, ...]
    blocks: tuple[int, ...]
    patch_size: tuple[int, int, int]
    forward_tflop: float
    outputs: int
    hours: float
    gpu_gb: float

    @property
    def arch_kwargs(self) -> dict[str, Any]:
        """As plans state it."""
        stages = len(self.features)
        strides = [[1] * 3, *([[2] * 3] * 5), *([[1, 2, 2]] * (stages - 6))]
        plain = self.network == "PlainConvUNet"
        return {
            "n_stages": stages,
            "features_per_stage": list(self.features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3] * 3] * stages,
            "strides": strides,
            "n_conv_per_stage" if plain else "n_blocks_per_stage": list(self.blocks),
            "n_conv_per_stage_decoder": [2 if plain else 1] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }


RESIDUAL = (1, 3, 4, 6, 6, 6, 6)
# Source: Isensee et al. 2024, nnU-Net Revisited, arXiv:2404.09556, table 1: KiTS, VRAM and runtime.
KNOWN = (
    Known("nnU-Net (org.)", "PlainConvUNet", NARROW, (2,) * 6, (128, 128, 128), 0.95473, 1168119296, 9, 7.7),
    Known(
        "nnU-Net ResEnc M", "ResidualEncoderUNet", NARROW, RESIDUAL[:6], (128, 128, 128), 1.435074, 1470907904, 12, 9.1
    ),
    Known(
        "nnU-Net ResEnc L", "ResidualEncoderUNet", NARROW, RESIDUAL[:6], (160, 224, 192), 4.708836, 4826416560, 35, 22.7
    ),
    Known("nnU-Net ResEnc XL", "ResidualEncoderUNet", WIDE, RESIDUAL, (192, 256, 256), 8.621138, 8827076736, 66, 36.6),
)
BATCH = 2
"""Images in each of their batches."""

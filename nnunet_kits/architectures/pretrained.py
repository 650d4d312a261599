"""A 2D U-Net with a ResNet34 encoder, which may start from ImageNet weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from nnunet_kits.architectures.topology import Topology, refuse_deep_supervision
from nnunet_kits.errors import TrainingError

ENCODER = "resnet34"
STRIDE = 32
"""The encoder halves its input five times."""


class ResNet34UNet2D(nn.Module):
    """``segmentation_models_pytorch.Unet`` with a ResNet34 encoder; one output, no deep supervision.

    It needs the extra ``smp``. It is always built with random weights: ImageNet is a training's start
    (:meth:`load_imagenet_encoder`), never needed at prediction.

    Called as :class:`~nnunet_kits.architectures.topology.Topology` says. Only
    ``conv_op`` is used, the rest of the network is the library's; ``deep_supervision`` must be False.

    Shape:
        input (b, input_channels, y, x) -> logits (b, num_classes, y, x); y and x multiples of 32.

    Raises:
        TrainingError: a 3D configuration, deep supervision, or segmentation_models_pytorch is not installed.

    Source: Beheshtifard, "Kidney Tumor Segmentation"; He et al., arXiv:1512.03385, for the encoder.
    """

    dimensions = (2,)
    supports_deep_supervision = False
    patch_multiple = STRIDE

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        stages.require(2, "ResNet34UNet2D")
        refuse_deep_supervision("ResNet34UNet2D", deep_supervision)
        super().__init__()
        unet = _library().Unet(ENCODER, encoder_weights=None, in_channels=input_channels, classes=num_classes)
        self.encoder, self.blocks = unet.encoder, unet.decoder
        self.heads = nn.ModuleDict({"seg_layers": unet.segmentation_head})
        self.decoder: Any = SimpleNamespace(deep_supervision=False)  # nnU-Net sets it; there is nothing to switch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits.

        Raises:
            TrainingError: a patch that is no multiple of 32.
        """
        if x.shape[-1] % STRIDE or x.shape[-2] % STRIDE:
            raise TrainingError(
                f"ResNet34UNet2D: a patch of {x.shape[-2]} x {x.shape[-1]} pixels is no multiple of {STRIDE}. "
                "Change patch_size in the plans."
            )
        logits: torch.Tensor = self.heads["seg_layers"](self.blocks(self.encoder(x)))
        return logits

    def load_imagenet_encoder(self, file: str | None = None) -> None:
        """Start the encoder from ImageNet weights; the first convolution's three channels are summed into each of ours.

        Args:
            file: a state dictionary of torchvision's resnet34 (``resnet34-*.pth``); None downloads the library's.

        Raises:
            TrainingError: no such file, other weights, or no network.
        """
        weights = _from_hub() if file is None else _from_file(Path(file))
        first = weights["conv1.weight"].sum(1, keepdim=True)
        channels = self.encoder.conv1.weight.shape[1]
        weights["conv1.weight"] = first.repeat(1, channels, 1, 1) / channels
        own = self.encoder.state_dict()
        missing = [key for key in own if key not in weights or weights[key].shape != own[key].shape]
        if missing:
            raise TrainingError(
                f"{file or 'hub'}: no weights of a ResNet34 ({', '.join(missing[:3])} is missing or of another shape). "
                "Give torchvision's resnet34 file."
            )
        self.encoder.load_state_dict({key: weights[key] for key in own})

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """The library initialises itself."""


def _library() -> Any:
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise TrainingError(
            "ResNet34UNet2D needs segmentation_models_pytorch, which is not installed: pip install 'nnunet_kits[smp]'."
        ) from error
    return segmentation_models_pytorch


def _from_file(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise TrainingError(f"{path}: no such file of ImageNet weights. Download torchvision's resnet34, or use 'hub'.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        return dict(found)
    except Exception as error:  # whatever torch makes of a foreign file
        raise TrainingError(f"{path}: is no file of weights ({type(error).__name__}).") from error


def _from_hub() -> dict[str, torch.Tensor]:
    try:
        encoder = _library().encoders.get_encoder(ENCODER, in_channels=3, weights="imagenet")
    except TrainingError:
        raise
    except Exception as error:  # requests, urllib or huggingface_hub, each with errors of its own
        raise TrainingError(
            f"the ImageNet weights of {ENCODER} cannot be downloaded ({type(error).__name__}). Set imagenet_weights "
            'under kits_training of the plans to a file of torchvision\'s resnet34, or to "none".'
        ) from error
    return dict(encoder.state_dict())

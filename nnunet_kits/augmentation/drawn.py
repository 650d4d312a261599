"""What our transforms in place of nnU-Net's have in common: nnU-Net's draws."""

from typing import Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform


class Drawn(BasicTransform):
    """A transform of nnU-Net's, done otherwise: it draws, ours does what was drawn.

    Args:
        stock: nnU-Net's transform.
    """

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.stock = stock

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """As nnU-Net's transform draws them."""
        return self.stock.get_parameters(**data_dict)  # type: ignore[no-any-return]

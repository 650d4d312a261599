"""What a published system does to a scan before its network sees it, as data: crop, mask, resize; and the way back."""

from nnunet_kits.preparation.placement import Placement, restore
from nnunet_kits.preparation.preparation import Preparation
from nnunet_kits.preparation.prepare import Prepared, as_hu, prepare

__all__ = ["Placement", "Preparation", "Prepared", "as_hu", "prepare", "restore"]

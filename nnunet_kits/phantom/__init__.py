"""Phantoms: synthetic abdominal CT with kidneys, tumours, cysts and look-alikes, in any challenge year's layout."""

from nnunet_kits.phantom.grid import SIZES, Size
from nnunet_kits.phantom.layout import case_numbers, write_tree
from nnunet_kits.phantom.render import Phantom, make_phantom

__all__ = ["SIZES", "Phantom", "Size", "case_numbers", "make_phantom", "write_tree"]

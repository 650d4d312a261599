"""Clean up predicted label maps: operations, chains of them, and the choice of a chain."""

from nnunet_kits.postprocessing.files import postprocess_folder
from nnunet_kits.postprocessing.pipeline import Chain, apply_chain, chain_names, load_chain

__all__ = ["Chain", "apply_chain", "chain_names", "load_chain", "postprocess_folder"]

"""The challenges' own metrics, ranking, and comparisons of systems."""

from nnunet_kits.evaluation.evaluate import evaluate_folder
from nnunet_kits.evaluation.metrics import score_case

__all__ = ["evaluate_folder", "score_case"]

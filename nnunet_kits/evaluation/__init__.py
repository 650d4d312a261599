"""The challenges' own metrics, ranking, and comparisons of systems."""

from nnunet_kits.evaluation.case import evaluate_case
from nnunet_kits.evaluation.compare import compare_systems
from nnunet_kits.evaluation.evaluate import evaluate_folder
from nnunet_kits.evaluation.metrics import score_case
from nnunet_kits.evaluation.ranking import rank_systems

__all__ = ["compare_systems", "evaluate_case", "evaluate_folder", "rank_systems", "score_case"]

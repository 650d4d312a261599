"""Which commands of the installed nnU-Net unpickle what they read, so that a stranger's file runs its code."""

import ast
import importlib.util
from pathlib import Path

COMMANDS = {
    "inference/predict_from_raw_data.py": ("nnUNetv2_predict", "nnUNetv2_predict_from_modelfolder"),
    "ensembling/ensemble.py": ("nnUNetv2_ensemble",),
    "postprocessing/remove_connected_components.py": ("nnUNetv2_apply_postprocessing",),
    "training/dataloading/nnunet_dataset.py": ("every training (the .pkl files of preprocessed cases)",),
    "training/nnUNetTrainer/nnUNetTrainer.py": ("nnUNetv2_train --c or --val with nnU-Net's own trainers",),
    "run/load_pretrained_weights.py": ("nnUNetv2_train -pretrained_weights with nnU-Net's own trainers",),
}
"""Module of nnU-Net that reads checkpoints or other pickles -> the commands that do it by that module."""


def unpickling_commands(package: Path | None = None) -> list[str]:
    """The commands whose module calls ``torch.load`` without ``weights_only=True``, or ``load_pickle``.

    Args:
        package: nnU-Net's folder; None for the installed one.
    """
    if package is None:
        spec = importlib.util.find_spec("nnunetv2")
        if spec is None or not spec.submodule_search_locations:
            return []
        package = Path(next(iter(spec.submodule_search_locations)))
    found = {module: package / module for module in COMMANDS}
    return [name for module, file in found.items() if file.is_file() and _unpickles(file) for name in COMMANDS[module]]


def _unpickles(file: Path) -> bool:
    """Whether a module calls ``torch.load`` without ``weights_only=True``, or ``load_pickle``."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    calls = [(ast.unparse(node.func), node) for node in nodes if isinstance(node, ast.Call)]
    return any(name == "load_pickle" or (name == "torch.load" and not _is_data_only(call)) for name, call in calls)


def _is_data_only(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}.get("weights_only")
    return isinstance(given, ast.Constant) and given.value is True

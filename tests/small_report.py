"""A case to report on, and the model folder of a training that was stopped once."""

import numpy as np

from nnunet_kits.labels import Label
from nnunet_kits.reporting.overlays import Case

KITS_AFFINE = np.array([[0, 0, -1.0, 0], [0, -1, 0, 0], [-5, 0, 0, 0], [0, 0, 0, 1]])  # IPL, 5 x 1 x 1 mm
SHAPE = (12, 60, 80)

LOG = """
2026-11-21 06:15:52.062604: Epoch 0
2026-11-21 06:15:58.055192: train_loss 0.3826
2026-11-21 06:15:58.055374: val_loss 0.253
2026-11-21 06:15:58.055481: Pseudo dice [np.float32(0.4), np.float32(0.2), nan]
2026-11-21 06:15:59.266707: Epoch 1
2026-11-21 06:16:07.857895: train_loss 0.1948
2026-11-21 06:16:07.858083: val_loss nan
"""
AGAIN = """
2026-11-21 07:15:59.266707: Epoch 1
2026-11-21 07:16:07.857895: train_loss -0.1
2026-11-21 07:16:07.858083: val_loss 0.1
2026-11-21 07:16:07.858172: Pseudo dice [0.5, 0.7]
"""


def case_arrays():
    """(ct, reference): a body with two kidneys, a tumour in the patient's right one, a cyst in the left one."""
    ct = np.full(SHAPE, -1000.0)
    ct[:, 5:55, 5:75] = -100
    reference = np.zeros(SHAPE, np.uint8)
    reference[2:10, 30:46, 14:30] = Label.KIDNEY
    reference[2:10, 30:46, 50:66] = Label.KIDNEY
    reference[5:9, 32:44, 14:26] = Label.TUMOR
    reference[3:5, 32:36, 60:64] = Label.CYST
    ct[reference > 0] = 160
    return ct, reference


def shown(prediction=None, with_reference=True):
    ct, reference = case_arrays()
    if prediction is None:
        prediction = reference
    return Case(ct, prediction, reference if with_reference else None, (5.0, 1.0, 1.0))


def write_model(folder):
    """One fold that was stopped and went on, and one without a checkpoint; returns the model folder."""
    folder = folder / "ResUNetTrainer__KiTSDemoPlans__3d_lowres"
    for fold in (0, 1):
        (folder / f"fold_{fold}").mkdir(parents=True)
    (folder / "plans.json").write_text('{"dataset_name": "Dataset220_KiTS2023"}')
    (folder / "fold_0" / "training_log_2026_11_21_06_15_51.txt").write_text(LOG)
    (folder / "fold_0" / "training_log_2026_11_21_07_15_51.txt").write_text(AGAIN)
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"weights")
    return folder

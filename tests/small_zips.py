"""Zips of models without torch: the right names, and any bytes as weights."""

import io
import json
import random
import zipfile

MODEL = "Dataset102_KidneyCT/nnUNetTrainer__nnUNetResEncUNetLPlans__3d_fullres"
LABELS = {"background": 0, "kidney": 1, "mass": 2}
WEIGHTS = random.Random(0).randbytes(300_000)


def model_files(model=MODEL, labels=LABELS, checkpoint="checkpoint_best.pth", weights=WEIGHTS):
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".mha", "numTraining": 3}
    return {
        f"{model}/plans.json": b"{}",
        f"{model}/dataset.json": json.dumps(dataset).encode(),
        **{f"{model}/fold_{fold}/{checkpoint}": weights for fold in (0, 1)},
    }


def zipped(files, prefix=""):
    """A zip's bytes, of name -> content, or of (ZipInfo, content)."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else prefix + name, content)
    return made.getvalue()

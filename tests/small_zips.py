"""Zips of models without torch: the right names, and checkpoints that hold nothing but bytes."""

import io
import json
import pickle
import random
import zipfile

MODEL = "Dataset102_KidneyCT/nnUNetTrainer__nnUNetResEncUNetLPlans__3d_fullres"
LABELS = {"background": 0, "kidney": 1, "mass": 2}


def checkpoint(content=None, seed=0):
    """What torch.save would write of an object, and random bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("checkpoint/data.pkl", pickle.dumps(content or {}, protocol=2))
        archive.writestr("checkpoint/data/0", random.Random(seed).randbytes(300_000))
        archive.writestr("checkpoint/version", "3\n")
    return made.getvalue()


WEIGHTS = checkpoint()


def anything(path):
    """Takes any checkpoint."""


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

"""Training logs as nnU-Net 2.8.1 writes them, and folders of folds with them."""

import json
import os
from datetime import datetime, timedelta

HEAD = """
#######################################################################
Please cite the following paper when using nnU-Net:
#######################################################################

"""
BEGIN = datetime(2026, 11, 20, 8, 0, 0)
NOW = BEGIN.timestamp() + 7200


def dice_of(epoch):
    return 0.5 + 0.01 * epoch


def log(epochs, begin=BEGIN, seconds=60.0, head=True, validates=10, compiled=False, ddp=False, loss=None):
    """Lines of a training over these epochs; an epoch in a tuple was begun and not ended."""
    lines, now = [HEAD] if head else [], begin

    def say(text):
        lines.append(f"{now.isoformat(' ', 'seconds')}.062604: {text} ")

    say(f"This split has 40 training and {validates} validation cases.")
    if compiled:
        say("Using torch.compile...")
    lines.append("These are the global plan.json settings:\n {'dataset_name': 'Dataset220_KiTS2023', 'Epoch 7': 1} \n ")
    say("Unable to plot network architecture:")
    say("No module named 'hiddenlayer'")
    for number, epoch in enumerate(epochs):
        ended = not isinstance(epoch, tuple)
        epoch = epoch if ended else epoch[0]
        say("")
        say(f"Epoch {epoch}")
        say("Current learning rate: 0.01")
        if not ended:
            break
        took = 10 * seconds if compiled and number == 0 else seconds
        now = now + timedelta(seconds=took)
        scalar = "np.float64" if ddp else "np.float32"
        dice = dice_of(epoch)
        say(f"train_loss {-0.1 - epoch / 100:.4f}" if loss is None else f"train_loss {loss}")
        say(f"val_loss {0.1 - epoch / 100:.4f}")
        say(f"Pseudo dice [{scalar}({dice + 0.1:.4f}), {scalar}({dice - 0.1:.4f}), nan]")
        say(f"Epoch time: {took:.2f} s")
    return "\n".join(lines) + "\n"


def done(epochs, begin=BEGIN, predicted=(), complete=True, **options):
    """A log to the end of the training, and as far in the validation as is said."""
    text = log(epochs, begin, **options) + "2026-11-20 09:00:00.100000: Training done. \n"
    for case in predicted:
        text += f"2026-11-20 09:00:01.100000: predicting {case} \n"
        text += f"2026-11-20 09:00:01.200000: {case}, shape torch.Size([1, 20, 37, 37]), rank 0 \n"
    return text + ("2026-11-20 09:05:00.100000: Validation complete \n" if complete else "")


def write_fold(fold, *logs, epochs=None, checkpoints=(), dice=None, age=0.0, now=NOW):
    """A fold's folder; the newest log was changed ``age`` seconds before ``now``."""
    fold.mkdir(parents=True)
    for number, text in enumerate(logs):
        path = fold / f"training_log_2026_11_{20 + number}_08_00_00.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(path, (now - age, now - age))
    if epochs is not None:
        (fold / "debug.json").write_text(json.dumps({"num_epochs": str(epochs), "is_ddp": "False"}))
    for name in checkpoints:
        (fold / f"checkpoint_{name}.pth").write_bytes(b"not to be opened")
    if dice is not None:
        (fold / "validation").mkdir()
        classes = {"(1, 2, 3)": {"Dice": dice + 0.1}, "2": {"Dice": dice - 0.1}}
        summary = {"foreground_mean": {"Dice": dice}, "mean": classes, "metric_per_case": []}
        (fold / "validation" / "summary.json").write_text(json.dumps(summary))
    return fold

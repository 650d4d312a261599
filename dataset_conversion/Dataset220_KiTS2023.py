"""Convert KiTS23 into $nnUNet_raw/Dataset220_KiTS2023; the same as ``nnunet_kits convert --year 23``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a checkout, installed or not

from nnunet_kits.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:], "--year", "23"]))

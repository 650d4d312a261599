"""Convert KiTS19 into $nnUNet_raw/Dataset064_KiTS2019; the same as ``nnunet_kits convert --year 19``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a checkout, installed or not

from nnunet_kits.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:], "--year", "19"]))

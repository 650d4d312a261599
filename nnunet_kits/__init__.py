"""nnU-Net v2 extension for kidney, tumour and cyst segmentation in CT (the KiTS challenges)."""

__version__ = "0.1.0"

"""Prediction: coarse to fine, resampled and exported only where the kidneys are, with any trained nnU-Net model."""

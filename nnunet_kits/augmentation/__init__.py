"""nnU-Net's training pipeline, equal in what it does and several times cheaper."""

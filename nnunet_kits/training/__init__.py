"""Trainers that unmodified nnU-Net finds by name, composed of a network, a loss, an optimisation and a length."""

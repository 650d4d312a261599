"""nnU-Net raw datasets made of other ones by rules that are data, and label maps put back on the source's grid."""

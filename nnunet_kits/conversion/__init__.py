"""KiTS folders to nnU-Net raw datasets: whole, checked, resumable; without torch and without nnunetv2."""

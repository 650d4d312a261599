"""What a recipe costs, reckoned from plans before anything is trained: GPU hours and GPU memory."""

"""How far trainings and recipes are, read from what they leave on disk."""

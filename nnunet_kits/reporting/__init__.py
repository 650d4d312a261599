"""The report: scores, sizes, pictures and training curves in one HTML file."""

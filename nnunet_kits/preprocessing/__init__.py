"""Preprocessing: the same arrays, label maps and properties as nnU-Net's DefaultPreprocessor, many times faster."""

"""Distances between sets of features, as arrays only: Fréchet, MMD, precision and recall, and their error bars.

May import: NumPy, SciPy and curate's errors; nothing that knows a video.
"""

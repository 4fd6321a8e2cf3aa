"""Decoding beside a network, features kept by content, reference statistics, several processes.

May import: frames, features, sets, distances, curate.
"""

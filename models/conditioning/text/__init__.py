"""Frozen encoders of captions: text -> tokens [B, N, D] and their mask. One file per encoder; `by_name`
says which.

May import: layers, curate's weights, networks and common, evaluate's features. Imported by: conditioning.
"""

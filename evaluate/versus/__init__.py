"""Is one set better than another: paired tests, their error bars, rankings, and how many clips a difference needs.

May import: the metrics, distances, what was measured, sets, and curate's common.
"""

"""A number of each clip: as a table, and as means and distances of groups of clips.

May import: the metrics, what was measured, sets, and curate's common.
"""

"""From noise to data along noise levels [N + 1], the stations. One file per family of samplers.

May import: core.
"""

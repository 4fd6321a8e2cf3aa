"""Which frames of a clip a network or a metric sees, and how they are made: protocol, window, resize, flow.

May import: curate.
"""

"""What samples are conditioned on: text, classes, given frames, numbers about the clip.

May import: text, backbones' contract, core, layers, curate's errors.
"""

"""What samples are conditioned on: text, classes, numbers about the clip, a reference picture, what is given of the
video.

May import: text, backbones' contract, core, layers, curate's errors, networks and weights.
"""

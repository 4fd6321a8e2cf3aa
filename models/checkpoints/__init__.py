"""Checkpoints on disk: folders of steps, tensors, averages of weights, what the clips were conditioned on.

May import: settings, config, autoencoders, tensor_files, curate. Neither training nor sampling: both import this.
"""

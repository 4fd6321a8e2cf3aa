"""Weights of a checkpoint for elsewhere: low-rank branches as a small file, checkpoints with their branches merged in.

May import: adapt, generate, checkpoints, network, config, settings, tensor_files, curate. Imported by: commands.
"""

"""Starting from other weights: which tensors of an old network fit a new one, what of it learns, low-rank branches.

May import: backbones, layers, settings, config, checkpoints, tensor_files, curate. Imported by: network, training,
generate, export.
"""

"""Video <-> latents. One file per autoencoder.

May import: layers, tensor_files, curate's common and errors.
"""

"""Video <-> latents. One file per autoencoder.

May import: layers, conditioning's reference pictures, tensor_files, curate's common and errors.
"""

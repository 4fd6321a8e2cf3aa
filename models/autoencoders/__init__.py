"""Video <-> latents. One file per autoencoder.

May import: layers, curate's common and errors.
"""

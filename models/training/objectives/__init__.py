"""What a training minimises: diffusion on latents, or the reconstruction of an autoencoder.

May import: everything in models but training's other rooms than data, and curate.
"""

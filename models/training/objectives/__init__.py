"""What a training minimises: diffusion on latents, or the reconstruction of an autoencoder.

May import: training.data, core, autoencoders, conditioning, network, settings.
"""

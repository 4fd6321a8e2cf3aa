"""What trains an autoencoder: reconstruction, perception, and a discriminator.

May import: autoencoders' contract, layers, core, evaluate's metrics and networks.
"""

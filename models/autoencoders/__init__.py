"""Video <-> latents. One file per autoencoder."""

"""From a curate run to batches: buckets, the plan of batches, windows of clips, loading, cached latents.

May import: settings, autoencoders (latents), conditioning, core, layers, the modules at the root, curate.
"""

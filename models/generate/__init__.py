"""Videos from a checkpoint: loading, prompts, sampling in batches, and the folder that `evaluate` reads.

May import: checkpoints, network, conditioning, core, autoencoders; not training. Imported by: commands, and training
for its previews.
"""

"""Videos from a checkpoint: loading, prompts, sampling in batches, and the folder that `evaluate` reads.

May import: everything in models but training, evaluate's sets, curate. Imported by: commands, and training for its
previews.
"""

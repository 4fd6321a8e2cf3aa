"""A checkpoint that samples: loading, prompts, what is given, guidance, one batch after another, and files.

May import: everything in models but training and stages, evaluate's sets, curate. Imported by: stages, and training for
its previews.
"""

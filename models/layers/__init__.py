"""Parts of networks: attention under a plan, convolutions, norms, embeddings, resampling, temporal blocks.

May import: curate's errors alone.
"""

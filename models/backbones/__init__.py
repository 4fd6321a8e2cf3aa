"""Networks with one contract: model(z [B, T, C, H, W], noise_level [B], conditioning) -> prediction [B, T, C, H, W].

May import: layers, curate's common and errors.
"""

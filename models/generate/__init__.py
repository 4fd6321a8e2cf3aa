"""Videos from a checkpoint."""

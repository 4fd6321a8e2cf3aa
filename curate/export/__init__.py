"""Kept clips to shards: encoding or stream copy, verified by decoding, packed with an index of offsets.

May import: video, tables, policy, engines, duplicates, inputs, contract, dataset, settings, common.
"""

"""Exact frames: probing, the one sequential decode, random access to spans, other decoders, pictures.

May import: errors, common, the signs of engines.
"""

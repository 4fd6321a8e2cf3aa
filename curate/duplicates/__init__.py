"""Clips that are alike, by picture and by meaning, and the splits that keep them together.

May import: contract, settings, common.
"""

"""Frozen encoders of captions."""

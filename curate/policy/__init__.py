"""Policies: what is kept and why. A policy is a cheap function of the table; it never sees a video.

May import: contract, annotators (which columns there are), common.
"""

"""Diffusion itself: noise levels, schedules, parametrisations, losses, guidance and samplers, for any network.

May import: curate's errors alone, no network.
"""

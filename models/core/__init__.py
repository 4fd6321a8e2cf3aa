"""Diffusion itself: noise levels, schedules, parametrisations, losses, guidance and samplers, for any network."""

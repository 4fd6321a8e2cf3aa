"""Cut detection: cheap curves for every frame, a multi-rate cascade over them, a network where they are unsure."""

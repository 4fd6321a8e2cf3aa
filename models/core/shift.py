"""By how much to shift a schedule where there are more pixels: each is less informative, so the same noise hides
less.
"""

import math


def square_root_shift(tokens: int, base_tokens: int) -> float:
    """sqrt(tokens / base_tokens), for `Shifted`: keeps the uncertainty of a constant picture (Esser et al. 2024,
    equation 23), and equals the side / base side of simple diffusion (Hoogeboom et al. 2023) for squares.
    """
    return math.sqrt(tokens / base_tokens)


def linear_shift(
    tokens_per_frame: int, frames: int, few: int = 256, many: int = 4096, at_few: float = 1.0, at_many: float = 3.0
) -> float:
    """From `at_few` to `at_many`, linear in the tokens of one frame and straight on outside, times sqrt(frames):
    Open-Sora 2's rule.
    """
    slope = (at_many - at_few) / (many - few)
    return (at_few + slope * (tokens_per_frame - few)) * math.sqrt(frames)

"""Videos of one window each, with a picture to begin or to end with where one is given."""

from collections.abc import Sequence

import torch

from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of, given_of, pictures_of, with_pictures
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.plan import Grid
from clipmill.models.stages.work import Make


def plain(grid: Grid) -> Make:
    """grid: of the videos."""

    def make(generator: Generator, some: Sequence[Prompt], noise: SampleNoise) -> torch.Tensor:
        latent_grid, pictures = generator.autoencoder.latent_grid(grid), pictures_of(some)
        conditions, given = conditions_of(generator, some, latent_grid), given_of(generator, pictures)
        return with_pictures(generator.videos(latent_grid, conditions, noise, given), pictures)

    return make

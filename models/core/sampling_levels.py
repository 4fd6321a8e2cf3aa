"""The noise levels at which a sampler stops on its way."""

from collections.abc import Iterator

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.schedules import Schedule


def stations(schedule: Schedule, steps: int) -> NoiseLevel:
    """[steps + 1] from the noisiest to clean, evenly spaced in the schedule's time.

    Of a schedule that does not end clean (Karras), `steps` levels and then sigma = 0 (Karras et al. 2022, equation 5);
    of a table these are the "trailing" steps, which begin at the last (Lin et al. 2024, arXiv 2305.08891, section 3.3).
    Raises UserError for fewer than one step.
    """
    if steps < 1:
        raise UserError(f"sampling takes one step or more, not {steps}")
    ends_clean = float(schedule.level(torch.zeros(())).sigma) == 0
    levels = schedule.level(torch.linspace(1, 0, steps + 1 if ends_clean else steps, dtype=torch.float64))
    if ends_clean:
        return levels
    return NoiseLevel(
        torch.cat([levels.alpha, levels.alpha.new_ones(1)]), torch.cat([levels.sigma, levels.sigma.new_zeros(1)])
    )


def steps_of(levels: NoiseLevel) -> Iterator[tuple[int, NoiseLevel, NoiseLevel]]:
    """(step, level now, level then) for every step."""
    for step in range(len(levels) - 1):
        yield step, levels[step], levels[step + 1]


def start(noise: torch.Tensor, levels: NoiseLevel) -> torch.Tensor:
    """z at the first station, from standard normal noise like z. The data is left out: only a schedule with zero
    terminal SNR has none there.
    """
    return noise * float(levels.sigma[0])


def step_at(levels: NoiseLevel, level: NoiseLevel) -> int:
    """The step in which a level lies, its upper end counting: how many stations are noisier. level: one for the whole
    batch.
    """
    angle = level.angle.flatten()[0].cpu()
    return min(int((levels.angle.cpu() > angle + 1e-9).sum()), len(levels) - 2)

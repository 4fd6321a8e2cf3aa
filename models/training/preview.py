"""Sampled videos while training: fixed numbers, the average's weights, no randomness of the training touched."""

from collections.abc import Callable

from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of
from clipmill.models.generate.files import write_sheet
from clipmill.models.generate.prompts import Wishes, draw_prompts
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion
from clipmill.models.settings.training import size_px
from clipmill.models.training.objectives.diffusion import DiffusionObjective
from clipmill.models.training.session import Session


def preview_of(session: Session) -> Callable[[], None]:
    """Writes CKPT/previews/<step>.png; nothing where the config or the model has no place for it."""
    objective = session.objective
    if (
        not session.config.train.preview_every
        or not isinstance(objective, DiffusionObjective)
        or objective.network.conditioner.frame_channels
    ):
        return lambda: None

    def preview() -> None:
        trainer, config = session.trainer, session.config
        generator = Generator(
            objective.network,
            objective.autoencoder,
            Diffusion(config),
            config.sample,
            session.processes.device,
            trainer.bf16,
        )
        height, width = size_px(config.data.sizes[0])
        grid = objective.autoencoder.latent_grid((max(config.data.frames), height, width))
        reads_text = objective.network.conditioner.text_encoder is not None
        wanted = draw_prompts(session.out, config.train.preview_clips, config.train.seed, Wishes(), reads_text)
        noise = SampleNoise(config.train.seed, [prompt.index for prompt in wanted])
        with trainer.evaluating(trainer.averages[0]):
            videos = generator.videos(grid, conditions_of(generator, wanted, grid), noise)
        if session.processes.first:
            folder = session.out / "previews"
            folder.mkdir(exist_ok=True)
            write_sheet(folder / f"{trainer.progress.step:08d}.png", list(videos))

    return preview

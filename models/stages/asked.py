"""Whether a model can do what was asked for: one line where it cannot."""

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.generate.loading import Loaded
from clipmill.models.layers.plan import Grid
from clipmill.models.stages.editing import check_edit
from clipmill.models.stages.request import Request

_UNTRAINED = ", or try what needs no training for it, --set sample.known=guidance"


def check_asked(loaded: Loaded, request: Request, window: Grid) -> None:
    """Raises UserError for options that contradict one another, and for given frames that the model has no use or no
    place for.
    """
    _check_together(request)
    if not loaded.autoencoder.decodes:
        raise UserError(f"{loaded.root} makes embeddings: models sample OTHER --set sample.prior={loaded.root}")
    if request.reference is not None and loaded.network.conditioner.reference_encoder is None:
        raise UserError("this model is not conditioned on a reference picture: leave --reference out")
    if request.edit is not None:
        check_edit(loaded, request)
        return
    frames = loaded.config.conditioning.frames
    if frames.needs_pixels:
        raise UserError(
            f"this model makes videos of whole videos (conditioning.frames.given={frames.given}): put it behind"
            " another one, models sample OTHER --then CKPT"
        )
    _check_latents(loaded, request, window)  # first: where it fails, no way of giving frames helps
    if loaded.config.sample.known == "trained":
        _check_trained(frames, request)


def _check_together(request: Request) -> None:
    if request.last is not None and request.extend is not None:
        raise UserError("--extend goes on from the end: leave --last out")
    if request.source_caption is not None and request.edit is None:
        raise UserError("--source-caption says what the video of --edit shows: give --edit VIDEO, or leave it out")


def _check_trained(frames: FramesConfig, request: Request) -> None:
    names = ("first", "last", "extend", "extend_before")
    asked = [f"--{name.replace('_', '-')}" for name in names if getattr(request, name) is not None]
    if frames.given == "none" and asked:
        raise UserError(f"this model was not trained to be given frames: leave {asked[0]} out{_UNTRAINED}")
    if frames.given == "first" and request.first is None:
        raise UserError("this model continues a first frame: give --first PICTURE, VIDEO or FOLDER")
    if frames.given == "first" and request.last is not None:
        raise UserError(f"this model continues a first frame and reaches no last one: leave --last out{_UNTRAINED}")
    if frames.given == "first" and request.extend_before is not None:
        raise UserError(
            f"this model continues a first frame and makes nothing before it: leave --extend-before out{_UNTRAINED}"
        )
    if frames.given == "masks":
        _check_tasks(frames, request)


def _check_tasks(frames: FramesConfig, request: Request) -> None:
    """Of a model that was trained with masks: which frames it was given then."""
    ends = request.first is not None, request.last is not None
    shares, either = frames.tasks, frames.random + frames.past_future
    trained = {
        (True, False): shares["prediction"] + either,
        (False, True): shares["backward"] + either,
        (True, True): shares["interpolation"] + either,
        (False, False): 1 - sum(shares.values()) + either,
    }
    names = {(True, False): "--first alone", (False, True): "--last alone", (True, True): "--first with --last"}
    if trained[ends] <= 1e-9:
        if ends not in names:
            raise UserError("this model is always given frames: give --first, --last or both")
        raise UserError(f"this model was not trained to be given {names[ends]}{_UNTRAINED}")
    if request.extend is not None and not shares["prediction"] + either:
        raise UserError(f"this model was not trained to continue frames: leave --extend out{_UNTRAINED}")
    if request.extend_before is not None and not shares["backward"] + either:
        raise UserError(f"this model was not trained to lead to frames: leave --extend-before out{_UNTRAINED}")


def _check_latents(loaded: Loaded, request: Request, window: Grid) -> None:
    """A picture has to be a latent of its own, and what is continued one of several."""
    latents = loaded.autoencoder.latent_grid(window)[0]
    if (request.extend is not None or request.extend_before is not None) and latents < 2:
        raise UserError(
            f"this model makes a window of {window[0]} frames as one latent: there is none to continue; train one with"
            " several latents along time (a smaller autoencoder.options.time_factor)"
        )
    if request.first is None and request.last is None:
        return
    if not loaded.autoencoder.first_frame_alone:
        raise UserError(
            f"this model can be given no single picture: each of its latents is of {window[0] // latents} frames; leave"
            " --first and --last out, or train one with autoencoder.options.time_factor=1"
        )
    if request.last is not None and latents != window[0]:
        raise UserError(
            f"this model can be given no last picture: latents behind its first are of several frames ({window[0]}"
            f" frames, {latents} latents); leave --last out"
        )

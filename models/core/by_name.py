"""The parts of this package under the names that presets write."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from clipmill.curate.errors import UserError
from clipmill.models.core import loss_weights
from clipmill.models.core.loss_weights import LossWeight
from clipmill.models.core.parametrisation import Clean, Edm, Epsilon, FlowVelocity, Parametrisation, V
from clipmill.models.core.schedules import Cosine, Flow, Karras, Schedule, Shifted
from clipmill.models.core.tabulated import Tabulated, linear_alphas, sqrt_linear_alphas, zero_terminal_alphas
from clipmill.models.core.timesteps import LevelSampler, LogitNormal, LogNormal, Mode, Uniform

T = TypeVar("T")
Options = Mapping[str, Any]


def schedule_named(name: str, options: Options | None = None, shift: float = 1.0) -> Schedule:
    """cosine, linear, sqrt-linear, karras or flow. options: as the schedule's class or table takes them; for the two
    tables also zero_terminal, bool. shift: see `Shifted`. Raises UserError for a name or an option that does not exist,
    or a value out of range.
    """
    choices: dict[str, Callable[..., Schedule]] = {
        "cosine": Cosine,
        "linear": _linear,
        "sqrt-linear": _sqrt_linear,
        "karras": Karras,
        "flow": Flow,
    }
    schedule = _made("schedule", name, options, choices)
    return schedule if shift == 1 else Shifted(schedule, shift)


def parametrisation_named(name: str, options: Options | None = None) -> Parametrisation:
    """eps, x, v, flow or edm. Raises UserError likewise."""
    return _made(
        "parametrisation", name, options, {"eps": Epsilon, "x": Clean, "v": V, "flow": FlowVelocity, "edm": Edm}
    )


def loss_weight_named(name: str, options: Options | None = None) -> LossWeight:
    """eps, x, v, flow or edm, for the plain squared error of that; min-snr, truncated-snr, p2 or sigmoid. Raises
    UserError likewise.
    """
    if name in ("eps", "x", "v", "flow", "edm"):
        return loss_weights.plain(parametrisation_named(name, options))
    choices: dict[str, Callable[..., LossWeight]] = {
        "min-snr": loss_weights.min_snr,
        "truncated-snr": loss_weights.truncated_snr,
        "p2": loss_weights.p2,
        "sigmoid": loss_weights.sigmoid,
    }
    return _made("loss weight", name, options, choices, also=("eps", "x", "v", "flow", "edm"))


def level_sampler_named(name: str, options: Options | None = None) -> LevelSampler:
    """uniform, logit-normal, mode or log-normal. Raises UserError likewise."""
    choices: dict[str, Callable[..., LevelSampler]] = {
        "uniform": Uniform,
        "logit-normal": LogitNormal,
        "mode": Mode,
        "log-normal": LogNormal,
    }
    return _made("distribution of noise levels", name, options, choices)


def _linear(
    steps: int = 1000, first_beta: float = 1e-4, last_beta: float = 0.02, zero_terminal: bool = False
) -> Tabulated:
    alphas = linear_alphas(steps, first_beta, last_beta)
    return Tabulated(zero_terminal_alphas(alphas) if zero_terminal else alphas)


def _sqrt_linear(
    steps: int = 1000, first_beta: float = 0.00085, last_beta: float = 0.012, zero_terminal: bool = False
) -> Tabulated:
    alphas = sqrt_linear_alphas(steps, first_beta, last_beta)
    return Tabulated(zero_terminal_alphas(alphas) if zero_terminal else alphas)


def _made(
    kind: str, name: str, options: Options | None, choices: Mapping[str, Callable[..., T]], also: tuple[str, ...] = ()
) -> T:
    if name not in choices:
        raise UserError(f"there is no {kind} {name!r}; there are {', '.join((*also, *choices))}")
    known = list(inspect.signature(choices[name]).parameters)
    unknown = [key for key in options or {} if key not in known]
    if unknown:
        raise UserError(f"the {kind} {name!r} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    return choices[name](**(options or {}))

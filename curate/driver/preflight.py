"""Everything that can be known before any work."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipmill.curate.common.log import DownloadLines, Tell, say
from clipmill.curate.config import Config
from clipmill.curate.driver.policy_of_run import policy_of
from clipmill.curate.errors import UserError, closest
from clipmill.curate.weights.locations import is_path
from clipmill.curate.weights.table import known


def preflight(config: Config, annotators: Sequence[str] | None = None, tell: Tell = say) -> Config:
    """Everything that can be known before any work: the policy's columns exist, what annotators load is there, or is
    fetched now. The configuration comes back with where the weights are. annotators: those that will run, None: all;
    the others' results are there already. tell: hears of downloads. Raises UserError, within two seconds where no
    network is there.
    """
    policy_of(config)
    for name in config.annotators if annotators is None else annotators:
        config.annotators[name].check()
    return replace(config, found_weights=_found_weights(config, tell))


def _found_weights(config: Config, tell: Tell) -> dict[str, dict[str, str]]:
    from clipmill.curate import weights

    names = list(dict.fromkeys(weight for annotator in config.annotators.values() for weight in annotator.weights))
    # What an earlier command loaded need not be here any more where its results are.
    past = {
        n: dict(config.found_weights[n]) for n in names if n in config.found_weights and not _is_here(n, config.weights)
    }
    here = weights.resolve([name for name in names if name not in past], config.weights, report=DownloadLines(tell))
    return past | {name: {"path": found.path, "sha256": found.sha256} for name, found in here.items()}


def _is_here(name: str, overrides: Mapping[str, str]) -> bool:
    from clipmill.curate import weights

    try:
        return weights.find(name, overrides) is not None
    except UserError:  # a path that is gone
        return False


def pull_names(preset_or_name: str) -> list[str]:
    """The weights to pull: one by its name, or all that the annotators of a preset (a name or a TOML file) need.

    Raises UserError, naming the closest, for what is neither.
    """
    from clipmill.curate.common.settings import preset_names
    from clipmill.curate.config import load

    names = [weights.name for weights in known()]
    if preset_or_name in names:
        return [preset_or_name]
    if not preset_or_name.endswith(".toml") and preset_or_name not in preset_names():
        near = closest(preset_or_name, [*names, *preset_names()])
        raise UserError(
            f"there are neither weights nor a preset called {preset_or_name!r}{near} (see `curate weights list`)"
        )
    config = load(preset_or_name)
    needed = dict.fromkeys(name for annotator in config.annotators.values() for name in annotator.weights)
    return [name for name in needed if not is_path(name)]

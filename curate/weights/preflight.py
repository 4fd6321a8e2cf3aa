"""Before a run starts: the weights it needs are on this machine, or are brought, or one line says within two seconds
what to do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipmill.curate.errors import UserError
from clipmill.curate.weights import network_check
from clipmill.curate.weights.digests import path_sha256
from clipmill.curate.weights.locations import bring_yourself, cache_folder, find, is_path, target
from clipmill.curate.weights.pull import Report, fetch, source_url
from clipmill.curate.weights.table import Weights, weights_named


@dataclass(frozen=True)
class LocalWeights:
    """Weights on this machine. path: of a file or a folder. sha256: of the file, or of the folder's files
    (`path_sha256`).
    """

    name: str
    path: str
    sha256: str


def resolve(
    names: Iterable[str], overrides: Mapping[str, str], offline: bool = False, report: Report | None = None
) -> dict[str, LocalWeights]:
    """Where the weights called `names` (or paths) lie, after downloads of those that are missing.

    overrides: name -> path, from `--set weights.NAME=PATH`. offline: True forbids downloads, as `CLIPMILL_OFFLINE=1`
    does.
    report: progress of downloads, see `fetch`. Raises UserError: within two seconds where something is missing and
    cannot be downloaded, and where a file of the cache is not the published one.
    """
    for name in overrides:
        weights_named(name)
    wanted = list(dict.fromkeys(names))
    found = {name: find(name, overrides) for name in wanted}
    missing = [weights_named(name) for name in wanted if found[name] is None]
    if missing:
        for weights in missing:
            if weights.kind == "own":
                raise bring_yourself(weights)
        _check_network(missing, offline)
    found |= {weights.name: fetch(weights, report) for weights in missing}
    return {name: _local(name, path, name in overrides) for name, path in found.items() if path is not None}


def pull(name: str, report: Report | None = None) -> Path:
    """Download weights where they are not on this machine yet. Raises UserError as `resolve` does."""
    return Path(resolve([name], {}, report=report)[name].path)


def _local(name: str, path: Path, own: bool) -> LocalWeights:
    """own: named by the user, who may have weights of their own; what has the published name has to be the published
    file.
    """
    weights = None if is_path(name) else weights_named(name)
    found = path_sha256(path, weights.files if weights is not None and weights.folder else ("*",))
    if weights is not None and not own and not found.startswith(weights.sha256 or ""):
        raise UserError(
            f"{path} is not the published {name}: its sha256 is {found[:16]}…; delete it, or --set"
            f" weights.{name}={path}"
        )
    return LocalWeights(name, str(path), found)


def _check_network(missing: Sequence[Weights], offline: bool) -> None:
    if offline or network_check.offline():
        raise UserError(_what_to_do(missing, "downloads are switched off"))
    silent = network_check.silent_hosts([source_url(weights) for weights in missing])
    if silent:
        raise UserError(
            _what_to_do(missing, f"{' and '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer")
        )


def _what_to_do(missing: Sequence[Weights], why: str) -> str:
    what = ", ".join(f"{weights.name} ({weights.size})" for weights in missing)
    names = " ".join(weights.name for weights in missing)
    files = ", ".join(target(weights).name + ("/" if weights.folder else "") for weights in missing)
    return (
        f"weights not on this machine, and {why}: {what}; run `curate weights pull {names}` where there is a network"
        f" and bring the files into {cache_folder()} as {files}, or name them: --set weights.{missing[0].name}=PATH"
    )

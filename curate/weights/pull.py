"""Weights from their public source into a local cache: checked, then renamed, so that a half file never has a whole
file's name.
"""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from clipmill.curate.common.files import beside
from clipmill.curate.errors import UserError, first_line
from clipmill.curate.weights.digests import digest, sha256
from clipmill.curate.weights.download import discard, download, forget_label
from clipmill.curate.weights.locations import target
from clipmill.curate.weights.table import Weights

Report = Callable[[str, int, int | None], None]


def source_url(weights: Weights) -> str:
    """An address whose host tells whether these weights can be had."""
    return weights.source if weights.kind == "file" else _hub().constants.ENDPOINT


def fetch(weights: Weights, report: Report | None = None) -> Path:
    """Download weights, or finish a download that broke off. report: called with (name, bytes so far, bytes in all or
    None).

    Files go to the cache folder, what comes from the hub to the hub's own cache. Raises UserError, one line, where the
    source refuses, breaks off for good, or serves something else than the published file.
    """
    if weights.kind == "hub":
        return _from_hub(weights)
    path = target(weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _fetch_file(weights, path, report)
    return path


def check(weights: Weights, path: Path) -> None:
    """Raises UserError where a file's checksum is not the published one."""
    if weights.sha256 is not None:
        _same(weights, path, "sha256", sha256(path), weights.sha256)
    if weights.md5 is not None:
        _same(weights, path, "md5", digest(path, hashlib.md5(usedforsecurity=False)), weights.md5)


def _same(weights: Weights, path: Path, kind: str, found: str, published: str) -> None:
    if not found.startswith(published):
        raise UserError(
            f"{path} is not the published {weights.name}: its {kind} is {found[:16]}…, not {published[:16]}…; delete it"
        )


def _fetch_file(weights: Weights, path: Path, report: Report | None) -> None:
    part = path.with_name(f"{path.name}.part")
    packed = weights.source.endswith(".zip")
    tell = None if report is None else (lambda done, total: report(weights.name, done, total))
    download(weights.source, part, tell)
    try:
        if packed:
            _unpack(weights, part, path)
        else:
            check(weights, part)
    except UserError as error:
        discard(part)
        raise UserError(
            f"{weights.source} served something else: {str(error).removesuffix('; delete it')}; nothing was kept"
        ) from None
    if packed:
        discard(part)
    else:
        part.replace(path)
        forget_label(part)


def _unpack(weights: Weights, archive: Path, path: Path) -> None:
    try:
        with beside(path) as whole:
            with zipfile.ZipFile(archive) as packed, packed.open(weights.files[0]) as inside, whole.open("wb") as file:
                shutil.copyfileobj(inside, file, 1 << 20)
            check(weights, whole)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise UserError(f"no {weights.files[0]} in the archive ({error})") from None


def _from_hub(weights: Weights) -> Path:
    hub = _hub()
    try:
        if weights.folder:
            return Path(hub.snapshot_download(weights.source, allow_patterns=list(weights.files)))
        return _first_file(hub, weights)
    except (OSError, ValueError) as error:  # the hub's own errors are kinds of these
        reason = first_line(error, 160)
        raise UserError(
            f"{weights.name} from {weights.source}: {reason} (the same command goes on from here)"
        ) from None


def _first_file(hub: Any, weights: Weights) -> Path:
    for file in weights.files[:-1]:
        try:
            return Path(hub.hf_hub_download(weights.source, file))
        except hub.errors.EntryNotFoundError:
            continue
    return Path(hub.hf_hub_download(weights.source, weights.files[-1]))


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise UserError("weights from the hub need huggingface_hub: pip install huggingface_hub") from None
    return huggingface_hub

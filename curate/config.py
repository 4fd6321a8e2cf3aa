"""Configuration: frozen dataclasses, filled from TOML presets and `--set key=value`. An unknown key is an error that
names the closest one.

annotators = ["borders", "motion"]   # which annotators run
[inputs] [decode] [frames] [scenes] [dedup] [export]   # the sections below
[motion]                             # parameters of an annotator: the fields of its class
[weights]                            # name of weights = a file or folder of this machine, instead of the published ones
[policy.motion]                      # a filter: the column's name, then min, max, drop_lowest, drop_highest
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from clipmill.curate.common.settings import build, parse_override, read_preset, table_of
from clipmill.curate.contract.annotator import Annotator
from clipmill.curate.errors import UserError, closest
from clipmill.curate.policy.policy import KEYS
from clipmill.curate.policy.policy import merge as merge_policy
from clipmill.curate.settings.decode import DecodeConfig, FramesConfig
from clipmill.curate.settings.dedup import DedupConfig
from clipmill.curate.settings.export import ExportConfig
from clipmill.curate.settings.fingerprints import Fingerprints, fingerprints
from clipmill.curate.settings.inputs import InputsConfig
from clipmill.curate.settings.scenes import ScenesConfig

SECTIONS: dict[str, type] = {
    "inputs": InputsConfig,
    "decode": DecodeConfig,
    "frames": FramesConfig,
    "scenes": ScenesConfig,
    "dedup": DedupConfig,
    "export": ExportConfig,
}
_OTHER_KEYS = ("policy", "annotators", "weights")


@dataclass(frozen=True)
class Config:
    """A resolved configuration. `annotators`: name -> settings, of those asked for and those that they need, in the
    order in which they run. `parameters`: annotator name -> the settings that differ from its defaults. `policy`:
    filter -> rule. `weights`: name -> a path of the user's.
    `found_weights`: name -> {path, sha256} of what the annotators load; no setting, but what the preflight found.
    """

    preset: str
    annotators: Mapping[str, Annotator]
    decode: DecodeConfig
    frames: FramesConfig
    scenes: ScenesConfig
    dedup: DedupConfig
    export: ExportConfig
    parameters: Mapping[str, Mapping[str, Any]]
    policy: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, str] = field(default_factory=dict)
    found_weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    inputs: InputsConfig = field(default_factory=InputsConfig)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for run.json; of the annotators the names, because `parameters` holds what was set."""
        return asdict(self) | {"annotators": tuple(self.annotators)}

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Of everything that is made under this configuration."""
        return fingerprints(self.decode, self.frames, self.scenes, self.annotators, self.found_weights)

    def __getstate__(self) -> dict[str, Any]:
        """Without the fingerprints: another machine has its own versions of libraries."""
        return {name: value for name, value in vars(self).items() if name != "fingerprints"}

    @property
    def decoding(self) -> tuple[str, ...]:
        """The annotators that run while a video is decoded."""
        return tuple(name for name, annotator in self.annotators.items() if not annotator.from_stored)

    @property
    def stored(self) -> tuple[str, ...]:
        """The annotators that run afterwards, on stored pictures and columns."""
        return tuple(name for name, annotator in self.annotators.items() if annotator.from_stored)

    def files(self, name: str) -> dict[str, Path]:
        """What the annotator called `name` loads: name of the weights -> path."""
        return {weights: Path(self.found_weights[weights]["path"]) for weights in self.annotators[name].weights}


def load(preset: str = "default", overrides: Iterable[str] = ()) -> Config:
    """The default preset, then `preset` (a name or a TOML file) over it, then each `key=value`. Raises UserError."""
    tree = read_preset("clipmill.curate.presets", "default")
    if preset != "default":
        tree = _merge(tree, read_preset("clipmill.curate.presets", preset))
    for text in overrides:
        tree = _merge(tree, parse_override(text))
    return _resolve(preset, tree)


def load_tree(saved: Mapping[str, Any], overrides: Iterable[str] = ()) -> Config:
    """The configuration that `Config.as_dict` saved, with `key=value` overrides. Raises UserError."""
    tree = {k: v for k, v in saved.items() if k not in ("preset", "parameters", "policy", "found_weights")}
    tree |= saved["parameters"] | {"policy": saved["policy"]}
    if "scenes" in tree:  # those of a run from before there was a choice have no name
        tree["scenes"] = {"rules": "first"} | tree["scenes"]
    for text in overrides:
        tree = _merge(tree, parse_override(text))
    return replace(_resolve(saved["preset"], tree), found_weights=saved.get("found_weights", {}))


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if key == "policy" and isinstance(value, Mapping):
            merged[key] = merge_policy(merged.get(key, {}), value)
            continue
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both_tables else value
    return merged


def _resolve(preset: str, tree: dict[str, Any]) -> Config:
    from clipmill.curate.annotators import names
    from clipmill.curate.contract.annotator_order import in_order

    known = [*SECTIONS, *_OTHER_KEYS, *names()]
    for key in tree:
        if key not in known:
            hint = _threshold(key, next(iter(tree[key]), "")) if isinstance(tree[key], Mapping) else ""
            raise UserError(f"unknown setting {key!r}{closest(key, known)}{hint}")
    active = tree.get("annotators", [])
    if not isinstance(active, list) or not all(isinstance(a, str) for a in active):
        raise UserError("annotators must be a list of names, for example annotators = ['borders', 'motion']")
    parameters = {k: v for k, v in tree.items() if k not in SECTIONS and k not in _OTHER_KEYS}
    for name in parameters:  # settings of those that do not run are checked, too
        annotator_of(name, parameters)
    ordered = in_order(active, lambda name: annotator_of(name, parameters))
    return Config(
        preset=preset,
        annotators={name: annotator_of(name, parameters) for name in ordered},
        parameters=parameters,
        policy=table_of(tree.get("policy", {}), "policy"),
        weights=_weights(tree.get("weights", {})),
        **{name: build(kind, tree.get(name, {}), name) for name, kind in SECTIONS.items()},
    )


def annotator_of(name: str, parameters: Mapping[str, Mapping[str, Any]]) -> Annotator:
    """The annotator called `name`, with its settings of `parameters`. Raises UserError for an unknown name or
    setting.
    """
    from clipmill.curate.annotators import annotator_class

    return build(annotator_class(name), parameters.get(name, {}), name, lambda key: _threshold(name, key))


def _weights(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(path, str) for path in given.values()):
        raise UserError("weights is a table of paths, for example weights.raft-large = '~/raft_large.pth'")
    return dict(given)


def _threshold(column: str, key: str) -> str:
    """What to write instead where somebody limits a column among the settings of what makes it."""
    return f"; for a threshold write policy.{column}.{key}" if key in KEYS else ""

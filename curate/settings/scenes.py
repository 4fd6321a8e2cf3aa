"""Settings of cut detection. Light on purpose: the command line imports it."""

from dataclasses import asdict, dataclass
from typing import Any

DETECTORS = ("fused", "cascade", "transnetv2")
SNAPS = ("exact", "keyframe")
RULES = ("auto", "first", "second")
# Settings that the first rules had not: no part of what identifies a run that was cut by them.
SINCE_SECOND = (
    "rules", "turned", "lasting_share", "lasting_factor", "lasting_structure", "lasting_turned", "gradual_factor",
)  # fmt: skip
FIRST_HESITATION = 0.15
"""Default of network_hesitation under the first rules."""


@dataclass(frozen=True)
class ScenesConfig:
    """How videos are cut into spans. Thresholds apply to stored curves: changing one needs no decoding.

    detector: fused | cascade | transnetv2.
    rules: auto (the second; a run that is there keeps its own) | first (until November 2026) | second (finds jump cuts
        and wipes without the network, no cuts at steps of light, fades from and to black at the ends).
    snap: exact (every frame of the shot) | keyframe (spans start and end on keyframes, for stream copies).
    min_length_s: s; shorter spans stay rows, but annotators skip them.
    max_length_s: s; longer shots are split into equal parts no longer than this.
    guard_s: s, taken off a span at each end that touches a gradual transition, on top of the transition itself.

    hard_evidence: contrast of a one-frame change to its neighbourhood that makes a hard cut, ratio (see `cascade`).
    hard_structure: 0 to 1, share of the picture's local contrast that must be replaced by a cut.
    turned: 0 to 1, share of the picture's slopes that a cut must turn: less is a step of exposure or white balance.
    lasting_share: share of hard_evidence that a sharp change needs which stays (see `cascade`).
    lasting_factor: how many times above every step around it a sharp change that stays must be to need no network.
    lasting_structure, lasting_turned: 0 to 1, as hard_structure and turned, for such a change.
    still_within: code values, variation below which both sides are a static screen (slides, screen recordings).
    still_between: code values, change between two static screens that makes a cut.
    still_structure: 0 to 1, as hard_structure, between static screens.
    gradual_evidence: evidence that makes a gradual transition, ratio (see `cascade`).
    obvious_factor: a hard cut this many times above hard_evidence needs no network (fused).
    propose_share: 0 to 1, share of the evidence thresholds from which a change is shown to the network (fused).
    propose_structure: 0 to 1, as hard_structure, for what is shown to the network and for what it finds (fused).
    network_threshold: 0 to 1, probability from which the network alone makes a boundary (transnetv2, fused).
    network_agreement: 0 to 1, probability from which a hard cut that the cascade finds too is one (fused).
    network_hesitation: 0 to 1, probability from which strong gradual evidence makes a boundary (fused).
    support_factor: how many times above gradual_evidence that is (fused).
    gradual_factor: a gradual transition this many times above gradual_evidence needs no network (fused).
    """

    detector: str = "fused"
    rules: str = "auto"
    snap: str = "exact"
    min_length_s: float = 1.0
    max_length_s: float = 20.0
    guard_s: float = 0.04
    hard_evidence: float = 5.0
    hard_structure: float = 0.7
    turned: float = 0.27
    lasting_share: float = 0.6
    lasting_factor: float = 3.0
    lasting_structure: float = 0.55
    lasting_turned: float = 0.4
    still_within: float = 0.25
    still_between: float = 2.5
    still_structure: float = 0.25
    gradual_evidence: float = 7.0
    obvious_factor: float = 6.0
    propose_share: float = 0.6
    propose_structure: float = 0.5
    network_threshold: float = 0.5
    network_agreement: float = 0.45
    network_hesitation: float = 0.1
    support_factor: float = 1.5
    gradual_factor: float = 2.1

    @property
    def first_rules(self) -> bool:
        """Whether cuts are those of runs from before there was a choice."""
        return self.rules == "first"

    @property
    def light(self) -> float:
        """Share of slopes below which a sharp change is one of light; 0, which is never, under the first rules."""
        return 0.0 if self.first_rules else self.turned

    def identity(self) -> dict[str, Any]:
        """What decides the cuts, for fingerprints."""
        fields = asdict(self) | {"rules": "second"}
        return {name: v for name, v in fields.items() if not (self.first_rules and name in SINCE_SECOND)}

"""Settings of cut detection. Light on purpose: the command line imports it."""

from dataclasses import dataclass

DETECTORS = ("fused", "cascade", "transnetv2")
SNAPS = ("exact", "keyframe")


@dataclass(frozen=True)
class ScenesConfig:
    """How videos are cut into spans. Thresholds apply to stored curves: changing one needs no decoding.

    detector: fused | cascade | transnetv2.
    snap: exact (every frame of the shot) | keyframe (spans start and end on keyframes, for stream copies).
    min_length_s: s; shorter spans stay rows, but annotators skip them.
    max_length_s: s; longer shots are split into equal parts no longer than this.
    guard_s: s, taken off a span at each end that touches a gradual transition, on top of the transition itself.

    hard_evidence: contrast of a one-frame change to its neighbourhood that makes a hard cut, ratio (see `cascade`).
    hard_structure: 0 to 1, share of the picture's local contrast that must be replaced by a cut.
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
    """

    detector: str = "fused"
    snap: str = "exact"
    min_length_s: float = 1.0
    max_length_s: float = 20.0
    guard_s: float = 0.04
    hard_evidence: float = 5.0
    hard_structure: float = 0.7
    still_within: float = 0.25
    still_between: float = 2.5
    still_structure: float = 0.25
    gradual_evidence: float = 7.0
    obvious_factor: float = 6.0
    propose_share: float = 0.6
    propose_structure: float = 0.5
    network_threshold: float = 0.5
    network_agreement: float = 0.45
    network_hesitation: float = 0.15
    support_factor: float = 1.5

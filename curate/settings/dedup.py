"""Parameters of the near-duplicate search. Light: imported by the command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DedupConfig:
    """How alike two clips must be to count as one (see `clipmill.curate.duplicates.near`).

    radius_bits: pairs with a role frame within this Hamming distance (of 64) are compared. duration_ratio: shorter over
    longer duration, 0 to 1, at least. similarity: correlation, -1 to 1, of the aligned thumbs that the worst role must
    reach.
    overlay: share of the picture, 0 to 1, that an overlay (logo) may cover, at the same place in all roles.
    same_video_bits, same_video_similarity: stricter rule for two clips of one video, where another shot of the same
    scene is likelier than a copy: no alignment, no overlay, every role.
    semantic_similarity: mean cosine, -1 to 1, of the CLIP embeddings of two clips' frames from which they count as the
    same thing (see `clipmill.curate.duplicates.semantic`). semantic_keep: name of the column whose largest value is
    kept of such a group; none: as for near duplicates. semantic_exact_clips: up to so many clips all pairs are
    compared, beyond that those within and between neighbouring cells.
    """

    radius_bits: int = 14
    duration_ratio: float = 0.9
    similarity: float = 0.986
    overlay: float = 0.1
    same_video_bits: int = 4
    same_video_similarity: float = 0.99
    semantic_similarity: float = 0.95
    semantic_keep: str | None = None
    semantic_exact_clips: int = 200_000

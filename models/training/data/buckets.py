"""Clips of many lengths and shapes in buckets of one: within a bucket, samples stack into a batch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from clipmill.curate.errors import UserError
from clipmill.models.layers.plan import Grid
from clipmill.models.settings.training import DataConfig, size_px

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Positions of the latents of one video of (frames, height px, width px).
TokensOf = Callable[[Grid], int]

_DROPPED, _UNDECIDED = "dropped by the policy since the export", "not decided by the policy"


class Packed(NamedTuple):
    """tokens: positions of the latents of one video; budget: of all videos of a step together."""

    tokens: int
    budget: int


@dataclass(frozen=True)
class Bucket:
    """frames, height_px, width_px: of the windows. fps: frames per second of the windows. rows: of its clips in the
    table. batch: samples per step, over all processes. images: whether the windows are single frames of clips, to train
    on as images. packed: where a step has samples of several buckets; of this one then some times `batch`. crop: height
    and width, px, of the part of each window that training sees; None for the whole.
    """

    frames: int
    height_px: int
    width_px: int
    fps: float
    rows: tuple[int, ...]
    batch: int
    images: bool = False
    packed: Packed | None = None
    crop: tuple[int, int] | None = None

    @property
    def grid(self) -> Grid:
        """(frames, height px, width px) of what training sees of one window."""
        return self.frames, *(self.crop or (self.height_px, self.width_px))

    def __str__(self) -> str:
        what = "images" if self.images else f"{self.frames} frames at {self.fps:g} fps"
        return f"{self.width_px}x{self.height_px}, {what}"


@dataclass(frozen=True)
class Buckets:
    """table: the kept and exported clips that the condition takes, one row each. left_out: reason -> clips. Every clip
    is in a bucket or left out.
    """

    buckets: tuple[Bucket, ...]
    table: "pd.DataFrame"
    left_out: dict[str, int]


def make_buckets(manifest: "pa.Table | pd.DataFrame", where: str, config: DataConfig, tokens_of: TokensOf) -> Buckets:
    """where: "" for all clips. Raises UserError for a condition that does not work, and where nothing is left to train
    on.
    """
    from clipmill.curate.common.sql import frame_where

    found = frame_where(manifest, where or None)
    exported = found[found["shard"].notna()] if "shard" in found else found.iloc[:0]
    table, left_out = _kept(exported)
    lengths = [_length(int(n), config) for n in table.get("export_n_frames", [])]
    groups: dict[tuple[int, int, int, float], list[int]] = {}
    for row, (length, clip) in enumerate(zip(lengths, table.to_dict("records"), strict=True)):
        if length:
            groups.setdefault((length, *_size(clip, config), _fps(clip, config)), []).append(row)
    left_out = (
        {"not exported": len(found) - len(exported)} | left_out | {"too short": sum(not length for length in lengths)}
    )
    if not groups:
        raise UserError(_nothing(len(manifest), len(found), left_out, where, config))
    crop = None if config.crop is None else size_px(config.crop)
    unsized = [Bucket(*key, tuple(rows), 0, crop=crop) for key, rows in sorted(groups.items())]
    buckets = [_with_batch(bucket, config, tokens_of) for bucket in unsized]
    if config.image_share > 0:
        buckets += [_with_batch(replace(bucket, frames=1, images=True), config, tokens_of) for bucket in buckets]
    return Buckets(tuple(buckets), table, {reason: count for reason, count in left_out.items() if count})


def _kept(exported: "pd.DataFrame") -> "tuple[pd.DataFrame, dict[str, int]]":
    """The clips that the policy keeps now (all of them where there is no column `keep`), as `evaluate` takes them, and
    why how many of the others are left out: shards outlast a change of the policy.
    """
    if "keep" not in exported:
        return exported.reset_index(drop=True), {}
    # Runs of before have no `keep` where a score is missing.
    undecided = exported["keep"].isna()
    if "outcome" in exported:
        undecided |= exported["outcome"].isin(["error", "not_run"])
    keep = exported["keep"].eq(True).fillna(False).astype(bool)
    counts = {_DROPPED: int((~keep & ~undecided).sum()), _UNDECIDED: int(undecided.sum())}
    return exported[keep].reset_index(drop=True), counts


def _length(clip_frames: int, config: DataConfig) -> int:
    """The longest window that the clip can fill; 0 where it fills none."""
    return max((n for n in config.frames if (n - 1) * config.stride < clip_frames), default=0)


def _size(clip: dict[Any, Any], config: DataConfig) -> tuple[int, int]:
    """The size whose shape is nearest to the clip's."""
    shape = math.log(clip["export_height"] / clip["export_width"])
    return min((size_px(size) for size in config.sizes), key=lambda size: abs(math.log(size[0] / size[1]) - shape))


def _fps(clip: dict[Any, Any], config: DataConfig) -> float:
    return round(clip["export_fps_num"] / clip["export_fps_den"] / config.stride, 3)


def _with_batch(bucket: Bucket, config: DataConfig, tokens_of: TokensOf) -> Bucket:
    if config.tokens is None:
        return replace(bucket, batch=config.batch)
    if config.packed:
        return replace(bucket, batch=config.batch_multiple, packed=Packed(tokens_of(bucket.grid), config.tokens))
    fits = config.tokens // tokens_of(bucket.grid) // config.batch_multiple
    return replace(bucket, batch=max(fits, 1) * config.batch_multiple)


def _nothing(clips: int, found: int, left_out: dict[str, int], where: str, config: DataConfig) -> str:
    if not found:
        return f"no clip to train on: {where!r} finds none of {clips} in the manifest"
    if left_out["not exported"] == found:
        return (
            f"no clip to train on: none of the {found} that {where!r} finds is kept and exported; run `curate filter`"
            " and `curate export`"
        )
    gone = [f"{left_out[reason]} {reason}" for reason in (_DROPPED, _UNDECIDED) if left_out.get(reason)]
    if gone and not left_out["too short"]:
        return (
            f"no clip to train on: of {found} that {where!r} finds, {' and '.join(gone)}; loosen it with `curate"
            " filter`, or run `curate export` for what it keeps now"
        )
    need = (min(config.frames) - 1) * config.stride + 1
    return (
        f"no clip to train on: {left_out['too short']} of {found} are shorter than {need} frames; set data.frames or"
        " data.stride"
    )

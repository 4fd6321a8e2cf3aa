"""What an export had to enlarge: pixels that no camera has seen."""

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.settings.export import ExportConfig


def enlarged_text(manifest: pa.Table, config: ExportConfig) -> str | None:
    """One line on the exported clips whose shorter side was below `short_side_px`; None where there are none. manifest:
    with the columns width and height, px of the crop box, and shard.
    """
    size_px = config.short_side_px
    if not size_px or config.copy or "shard" not in manifest.column_names:
        return None
    exported = manifest.filter(pc.is_valid(manifest["shard"]))
    shorter = pc.min_element_wise(exported["width"], exported["height"])
    small = shorter.filter(pc.less(shorter, size_px))
    if not len(small):
        return None
    return (
        f"{len(small)} of {len(exported)} clips are enlarged to {size_px} px (the smallest from {pc.min(small)} px):"
        f" `curate filter RUN --set height.min={size_px} --set width.min={size_px}` leaves them out, --size sets"
        " another size"
    )

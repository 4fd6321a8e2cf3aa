"""Captions that a person corrected: they stand in `captions` in place of the others, and go without a trace."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.contract.captions import caption
from clipmill.curate.policy.by_hand import Word

SOURCE = "hand"
CORRECTED = "corrected"  # status of a caption that a person's stands in place of


def with_hand_captions(clips: pa.Table, words: Mapping[str, Word]) -> pa.Table:
    """The table with corrected captions first in `captions`, and the status of the clip's other usable ones
    `corrected`: whatever reads captions takes those with status ok. What an earlier correction left is undone first.
    """
    if "captions" not in clips.column_names:
        return clips
    column = clips["captions"].combine_chunks()
    texts = {clip: word.caption for clip, word in words.items() if word.caption}
    corrected = pc.is_in(clips["clip_id"], pa.array(list(texts), pa.string())).to_numpy()
    rows = np.flatnonzero(corrected | _corrected_before(column))
    if not len(rows):
        return clips
    ids = clips["clip_id"].take(rows).to_pylist()
    lists = [
        _merged(given or [], texts.get(clip)) for clip, given in zip(ids, column.take(rows).to_pylist(), strict=True)
    ]
    places = np.arange(len(column))
    places[rows] = len(column) + np.arange(len(rows))
    changed = pa.concat_arrays([column, pa.array(lists, column.type)]).take(pa.array(places))
    return clips.set_column(clips.column_names.index("captions"), clips.schema.field("captions"), changed)


def _corrected_before(column: pa.ListArray) -> np.ndarray:
    found = np.zeros(len(column), bool)
    by_hand = pc.equal(pc.struct_field(pc.list_flatten(column), "source"), SOURCE)
    found[pc.list_parent_indices(column).filter(by_hand).to_numpy()] = True
    return found


def _merged(given: list[dict[str, Any]], text: str | None) -> list[dict[str, Any]]:
    others = [one for one in given if one["source"] != SOURCE]
    was, now = (CORRECTED, "ok") if text is None else ("ok", CORRECTED)
    others = [one | {"status": now} if one["status"] == was else one for one in others]
    return others if text is None else [caption(SOURCE, None, text, 1.0, "ok"), *others]

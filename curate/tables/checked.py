"""What a manifest must be before anything is believed of it: a run may be anybody's."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.contract import schema
from clipmill.curate.contract.column import types
from clipmill.curate.errors import UserError

_NAMES_OF_FILES = ("clip_id", "video_id", "split", "shard")
# A folder, a way up, nothing at all: see `common.files.is_bare`, which says the same of one name.
_NO_NAME = r"[/\x00]|^\.{0,2}$"
_OF_VIDEOS = ("relpath", "uri", "caption", "title", "tags", "license", "source_url")
_KINDS = {
    "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    "true or false": (pa.types.is_boolean,),
    "a number": (pa.types.is_integer, pa.types.is_floating),
    "a list": (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
}


def checked(path: Path, manifest: pa.Table) -> pa.Table:
    """The manifest that was read from `path`. Raises UserError, one line, where a column of the contract holds another
    kind of values, or what becomes the name of a file (ids, split, shard) is none.
    """
    for name in manifest.column_names:
        wanted, found = _kind(_CONTRACT.get(name)), manifest.schema.field(name).type
        if wanted is not None and not pa.types.is_null(found) and _kind(found) != wanted:
            raise UserError(f"{path}: the column {name} holds {found}, not {wanted}: it is no manifest of this program")
    for name in set(_NAMES_OF_FILES) & set(manifest.column_names):
        column = manifest[name].cast(pa.string())
        wrong = column.filter(pc.fill_null(pc.match_substring_regex(column, _NO_NAME), False))
        if len(wrong):
            raise UserError(f"{path}: the column {name} holds {wrong[0].as_py()!r}, which is no name of a file")
    return manifest


def _kind(values: pa.DataType | None) -> str | None:
    """Of the values, whatever their size; None where no kind is asked for."""
    if values is not None and pa.types.is_dictionary(values):
        return _kind(values.value_type)
    return next((kind for kind, tests in _KINDS.items() if values is not None and any(t(values) for t in tests)), None)


_CONTRACT = {
    **{name: schema.VIDEOS.field(name).type for name in _OF_VIDEOS},
    **dict(types(schema.JOINED_COLUMNS)),
    **{field.name: field.type for known in (schema.CLIPS, schema.DECISIONS, schema.INDEX) for field in known},
}

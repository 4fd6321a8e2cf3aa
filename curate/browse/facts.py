"""What the page knows of a run before it asks for clips: columns, the policy's filters, names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clipmill.curate.browse.mapped import is_plain, shown_columns
from clipmill.curate.contract import schema as contract
from clipmill.curate.policy import decisions
from clipmill.curate.policy.policy import Filter
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import check_folder, open_manifest, read_run_json

_IDS = {"clip_id", "video_id", "sha256", "uri", "relpath", "dup_of", "semantic_of", "caption", "title", "source_url"}
_PLACES = {"offset", "size", "start_pts", "end_pts", "time_base_num", "time_base_den", "keyframe_start_pts"}
_PLACES |= {"keyframe_end_pts", "export_fps_num", "export_fps_den", "crop_x", "crop_y"}


@dataclass(frozen=True)
class Facts:
    """schema: of the columns that are shown. filters: of the run's own policy, frozen. makers: column -> "motion.v1".
    docs: column -> what it is. policies: names of all that have decided the run.
    """

    n_clips: int
    schema: pa.Schema
    policy: str
    filters: tuple[Filter, ...]
    policies: tuple[str, ...]
    makers: Mapping[str, str]
    docs: Mapping[str, str]

    def columns(self) -> list[dict[str, Any]]:
        """Columns that a person may filter and sort by: name, kind (number, truth, text), doc, maker."""
        found = []
        for field in self.schema:
            hidden = field.name in _IDS | _PLACES or field.name.startswith("phash_") or not is_plain(field.type)
            if not hidden:
                doc = self.docs.get(field.name, "")
                found.append({"name": field.name, "kind": _kind(field.type), "doc": doc, "by": self.maker(field.name)})
        return found

    def maker(self, column: str) -> str:
        """The annotator of a column, "" where it is of the clip itself."""
        return self.makers.get(column, "")


def read_facts(run: RunDir) -> Facts:
    """Raises UserError where the folder is no finished run."""
    check_folder(run)
    info = read_run_json(run)
    manifest = open_manifest(run)
    names, saved = shown_columns(manifest.schema), decisions.saved(run.root)
    filters = decisions.load(run.root, info["policy"])[0].filters if info["policy"] in saved else ()
    docs = {name: column.doc for name, column in (contract.CLIP_COLUMNS | contract.JOINED_COLUMNS).items()}
    return Facts(
        manifest.n_rows,
        pa.schema([manifest.schema.field(name) for name in names]),
        info["policy"],
        tuple(filters),
        tuple(saved),
        info["columns"],
        docs | info["column_docs"],
    )


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "truth"
    return "number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "text"

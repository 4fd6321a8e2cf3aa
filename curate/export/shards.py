"""Clips to WebDataset tars with an offset index, and back: a random read is one `pread`, never a scan of a tar.

The name of a tar carries 12 digits of what the whole set holds, so that other clips never come under an old name: a
reader has the old set or the new one. A tar holds `<clip_id>.json` and `<clip_id>.mp4` (or .mkv) per clip, mtime 0, and
the same JSON fields in every sample.
Clips are ordered by the sha256 of their id, so each shard is a random subset of its split and the order does not depend
on the machine, the number of workers or the order of the input. The same clips give the same bytes.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clipmill.curate.common.files import beside
from clipmill.curate.contract.schema import INDEX, SHARDS
from clipmill.curate.errors import UserError, full_disk, is_full_disk, one_line
from clipmill.curate.export.encode import EncodedClip
from clipmill.curate.settings.export import SPLITS, ExportConfig
from clipmill.curate.settings.fingerprints import library_version

if TYPE_CHECKING:
    from clipmill.curate.dataset import ClipDataset, Draw, ResumableSampler, leave_at_once

__all__ = ["INDEX", "ClipDataset", "Draw", "ResumableSampler", "Sample", "ShardTables", "leave_at_once", "write_shards"]

_TAR_BLOCK = 512
_OWNER = {"user": "clipmill", "group": "clipmill", "mode": 0o444, "mtime": 0}


@dataclass(frozen=True)
class Sample:
    """One clip for a shard: the written file, its split, and what its JSON says (plain values; NaN becomes null).

    clip_id, split and the facts of the file are added to the JSON.
    """

    clip: EncodedClip
    split: str
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class ShardTables:
    """shards: schema.SHARDS, one row per tar. index: INDEX, one row per clip; `offset` and `size` are the bytes of the
    video in the tar, `sha256` is theirs. Rows in the order of the shards.
    """

    shards: pa.Table
    index: pa.Table


def __getattr__(name: str) -> Any:
    """`clipmill.curate.export.shards.ClipDataset` without importing torch for those who only write."""
    if name in ("ClipDataset", "Draw", "ResumableSampler", "leave_at_once"):
        from clipmill.curate import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def write_shards(samples: Iterable[Sample], folder: Path, config: ExportConfig, policy_id: str = "") -> ShardTables:
    """Write `folder/<split>-<content>-000000.tar` and so on; shards of an earlier export stay beside them.

    policy_id: sha256 of the frozen policy, for the table. Each tar is complete before it gets its name, then read again
    with `tarfile` to record where the videos lie. Raises UserError where the folder cannot be written.
    """
    ordered = sorted(samples, key=lambda s: (SPLITS.index(s.split), _shuffle_key(s.clip.clip_id)))
    fields = sorted({name for sample in ordered for name in sample.meta})
    shards: list[dict[str, Any]] = []
    index: list[dict[str, Any]] = []
    content = _content(ordered, fields, config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split, number, group in _grouped(ordered, fields, config):
            name = f"{split}-{content}-{number:06d}.tar"
            rows = _write_tar(folder, name, group, fields)
            shards.append(_shard_row(folder, name, group, policy_id))
            index.extend(rows)
    except OSError as error:
        if is_full_disk(error):
            raise full_disk(folder) from error
        raise UserError(f"cannot write shards in {folder}: {one_line(error)}") from error
    return ShardTables(pa.Table.from_pylist(shards, SHARDS), pa.Table.from_pylist(index, INDEX))


def _shuffle_key(clip_id: str) -> str:
    return hashlib.sha256(f"shuffle:{clip_id}".encode()).hexdigest()


def _content(ordered: Sequence[Sample], fields: Sequence[str], config: ExportConfig) -> str:
    """12 hex digits of all that decides the bytes of the tars."""
    made = f"{library_version('webdataset')}:{config.shard_clips}:{config.shard_bytes}"
    content = hashlib.sha256(made.encode())
    for sample in ordered:
        content.update(sample.clip.path.suffix.encode() + _json(sample, fields) + b"\n")
    return content.hexdigest()[:12]


def _grouped(
    ordered: Sequence[Sample], fields: Sequence[str], config: ExportConfig
) -> Iterator[tuple[str, int, list[Sample]]]:
    """(split, number of the shard in it, samples), closing a shard before it would pass either limit."""
    group: list[Sample] = []
    number, size_bytes = 0, 0
    for sample in ordered:
        grows = _padded(sample.clip.size_bytes) + _padded(len(_json(sample, fields)))
        full = len(group) >= config.shard_clips or size_bytes + grows > config.shard_bytes
        if group and (full or group[-1].split != sample.split):
            yield group[-1].split, number, group
            number = number + 1 if group[-1].split == sample.split else 0
            group, size_bytes = [], 0
        group.append(sample)
        size_bytes += grows
    if group:
        yield group[-1].split, number, group


def _padded(size_bytes: int) -> int:
    """Bytes of a file in a tar: a header and whole blocks."""
    return _TAR_BLOCK + -(-size_bytes // _TAR_BLOCK) * _TAR_BLOCK


def _json(sample: Sample, fields: Sequence[str]) -> bytes:
    """The sample's JSON: the same keys in every sample, null where a sample has no value."""
    clip = sample.clip
    facts = {
        "clip_id": clip.clip_id,
        "split": sample.split,
        "sha256": clip.sha256,
        "n_frames": clip.n_frames,
        "fps": [clip.fps_num, clip.fps_den],
        "width": clip.width,
        "height": clip.height,
    }
    values = {name: _null_if_nan(sample.meta.get(name)) for name in fields} | facts
    return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _null_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def _write_tar(folder: Path, name: str, group: Sequence[Sample], fields: Sequence[str]) -> list[dict[str, Any]]:
    from webdataset import TarWriter

    with beside(folder / name, synced=True) as temporary:
        with temporary.open("wb") as file, TarWriter(file, encoder=False, **_OWNER) as writer:
            for sample in group:
                clip = sample.clip
                writer.write(
                    {
                        "__key__": clip.clip_id,
                        clip.path.suffix[1:]: clip.path.read_bytes(),
                        "json": _json(sample, fields),
                    }
                )
        return _index_rows(temporary, name, group)


def _index_rows(tar: Path, name: str, group: Sequence[Sample]) -> list[dict[str, Any]]:
    """Where each video lies, as the finished tar has it. Raises OSError where its bytes are not those that were
    verified.
    """
    by_name = {f"{s.clip.clip_id}{s.clip.path.suffix}": s for s in group}
    rows = []
    with tarfile.open(tar, "r:") as archive, tar.open("rb") as file:
        for member in archive:
            sample = by_name.get(member.name)
            if sample is None:
                continue
            file.seek(member.offset_data)
            if hashlib.sha256(file.read(member.size)).hexdigest() != sample.clip.sha256:
                raise OSError(f"{member.name} changed while it was packed")
            rows.append(_index_row(name, member, sample))
    if len(rows) != len(group):
        raise OSError(f"{name} holds {len(rows)} of {len(group)} clips")
    return rows


def _index_row(name: str, member: tarfile.TarInfo, sample: Sample) -> dict[str, Any]:
    clip = sample.clip
    return {
        "clip_id": clip.clip_id,
        "split": sample.split,
        "shard": name,
        "offset": member.offset_data,
        "size": member.size,
        "sha256": clip.sha256,
        "export_n_frames": clip.n_frames,
        "export_fps_num": clip.fps_num,
        "export_fps_den": clip.fps_den,
        "export_width": clip.width,
        "export_height": clip.height,
        "export_codec": clip.codec,
    }


def _shard_row(folder: Path, name: str, group: Sequence[Sample], policy_id: str) -> dict[str, Any]:
    path = folder / name
    clips = [sample.clip for sample in group]
    rates = {Fraction(c.fps_num, c.fps_den) for c in clips}
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "shard": name,
        "uri": f"{folder.name}/{name}",
        "sha256": sha256,
        "size_bytes": path.stat().st_size,
        "n_clips": len(clips),
        "total_duration_s": float(sum(Fraction(c.n_frames * c.fps_den, c.fps_num) for c in clips)),
        "width": _only({c.width for c in clips}),
        "height": _only({c.height for c in clips}),
        "fps": _only({float(rate) for rate in rates}),
        "total_frames": sum(c.n_frames for c in clips),
        "codec": ",".join(sorted({c.codec for c in clips})),
        "policy_id": policy_id,
        "split": group[0].split,
        "clip_ids_sha256": hashlib.sha256("\n".join(sorted(c.clip_id for c in clips)).encode()).hexdigest(),
    }


def _only(values: set[Any]) -> Any:
    return next(iter(values)) if len(values) == 1 else None

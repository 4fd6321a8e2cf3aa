"""`--format folder`: videos/, videos.txt and prompts.txt, the layout that diffusers' CogVideoX scripts and finetrainers
read.

OUT/videos.txt, OUT/prompts.txt   one line per clip, in the same order; paths are relative to the folder of the list
OUT/videos/<clip_id>.mp4
OUT/val/, OUT/test/               the same again for the held-out splits, so that a trainer pointed at OUT does not see
them

Those scripts skip blank lines in either file, which would move every later caption to another video, so clips without a
caption are left out. Each clip has its best caption (`clipmill.curate.formats.shard_clips.best_caption`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from clipmill.curate.common.files import fingerprint, write_text
from clipmill.curate.common.log import Tell
from clipmill.curate.errors import UserError
from clipmill.curate.formats.publish import Written, publish
from clipmill.curate.formats.shard_clips import best_caption, exported_clips, write_clips
from clipmill.curate.tables.run_dir import RunDir

if TYPE_CHECKING:
    import pandas as pd

FOLDER_VERSION = 1
VIDEOS, PROMPTS = "videos.txt", "prompts.txt"


def write_prompt_lists(run: RunDir, out: Path, tell: Tell) -> Written:
    """Raises UserError as `write_format`, and where no clip of the training split has a caption."""
    exported = exported_clips(run)
    rows = exported.assign(text=exported["captions"].map(best_caption))
    rows = rows[rows["text"] != ""].reset_index(drop=True)
    if not (rows["split"] == "train").any():
        raise UserError(
            f"none of the {len(exported)} clips is in the training split and has a caption: caption them, or use"
            " --format hf"
        )
    state = fingerprint(
        {"version": FOLDER_VERSION, "clips": rows[["clip_id", "sha256", "split", "text"]].to_numpy().tolist()}
    )
    reused = publish(out, state, int(rows["size"].sum()), len(rows), lambda folder: _fill(run, rows, folder, tell))
    return Written(out, len(rows), len(exported) - len(rows), reused)


def _fill(run: RunDir, rows: "pd.DataFrame", folder: Path, tell: Tell) -> None:
    names = [
        f"{_root(split)}videos/{clip_id}{suffix}"
        for clip_id, split, suffix in rows[["clip_id", "split", "suffix"]].to_numpy()
    ]
    write_clips(run, rows, names, folder, tell)
    for split, own in rows.assign(name=names).groupby("split"):
        root = _root(str(split))
        _write_lines(folder / root / VIDEOS, [name.removeprefix(root) for name in own["name"]])
        _write_lines(folder / root / PROMPTS, own["text"].tolist())


def _root(split: str) -> str:
    return "" if split == "train" else f"{split}/"


def _write_lines(path: Path, lines: list[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))

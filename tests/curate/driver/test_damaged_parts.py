"""What a disk has damaged in the middle of a part is made again and said; what another command could spoil stays."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.commands import curate, invoke, made_once, one_line
from helpers.tiny_videos import quick, write_tiny

pytestmark = pytest.mark.slow


OPTIONS = (*quick("annotators=['borders','motion','caption_attributes']"), "--no-export")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """videos/ of two and run/. Read-only."""

    def make(root: Path) -> None:
        for k in range(2):
            write_tiny(root / "videos" / f"{k}.mp4", k)
        curate("run", root / "videos", "--out", root / "run", *OPTIONS)

    return made_once(tmp_path_factory, "two tiny", make)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """run/ of the videos of `made`, to change."""
    return shutil.copytree(made / "run", tmp_path / "run")


def flipped(path: Path) -> None:
    """Bits in its middle: it begins and ends as before."""
    data = bytearray(path.read_bytes())
    for at in range(4, len(data) // 2):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Arrow says
        pq.read_table(path)


def tables(run: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*.parquet")) if p.name != "index.parquet"
    }


@pytest.mark.parametrize("table", ["videos", "curves", "clips", "annotations/motion.v*", "annotations/caption_att*"])
def test_a_part_with_flipped_bits_is_made_again(table: str, copy: Path, made: Path):
    before = tables(copy)
    flipped(sorted(copy.glob(f"{table}/*-*.parquet"))[0])
    if table == "curves":  # read where something else is made
        for path in copy.glob("annotations/motion.v*/*.parquet"):
            path.unlink()
    said = curate("run", made / "videos", "--out", copy, *OPTIONS).stdout
    assert "1 damaged part is made again" in said
    assert tables(copy) == before


def test_damaged_pictures_are_made_again_by_who_looks_at_them(copy: Path, made: Path):
    before = tables(copy)
    frames = sorted(copy.glob("frames/*.parquet"))[0]
    flipped(frames)
    said = curate("annotate", copy, "--only", "quality").stdout
    assert "frames: 1 damaged part is made again" in said
    assert frames.read_bytes() == before[str(frames.relative_to(copy))]


def test_what_cannot_be_made_again_stays_and_is_one_line(copy: Path, made: Path, tmp_path: Path):
    videos = shutil.copytree(made / "videos", tmp_path / "videos")
    curate("run", videos, "--out", copy, "--drop-missing", *OPTIONS)
    clips = sorted(copy.glob("clips/*.parquet"))[0]
    flipped(clips)
    shutil.rmtree(videos)
    one_line(invoke("curate", "annotate", copy, "--only", "caption_attributes"), str(clips))
    assert clips.exists()


def replaced(copy: Path, made: Path, tmp_path: Path) -> Path:
    """The run's videos elsewhere, and the first of them replaced after the run."""
    videos = shutil.copytree(made / "videos", tmp_path / "videos")
    curate("run", videos, "--out", copy, "--drop-missing", *OPTIONS)
    return write_tiny(videos / "0.mp4", 7)


def test_annotate_takes_no_value_of_a_replaced_video_away(copy: Path, made: Path, tmp_path: Path):
    replaced(copy, made, tmp_path)
    before = tables(copy)
    done = invoke("curate", "annotate", copy, "--only", "motion", "--set", "motion.fps=6")
    one_line(done, "motion must decode videos that were replaced since (1, such as 0.mp4)", "`curate run VIDEOS")
    assert tables(copy) == before


def test_annotate_leaves_the_row_of_a_replaced_video_as_it_is(copy: Path, made: Path, tmp_path: Path):
    replaced(copy, made, tmp_path)
    before = pq.read_table(copy / "videos.parquet").to_pylist()
    rows = {row["relpath"]: row["video_id"] for row in before}
    next(copy.glob(f"curves/{rows['0.mp4']}-*.parquet")).unlink()
    manifest = pq.read_table(copy / "manifest.parquet")
    said = curate("annotate", copy, "--only", "caption_attributes").stdout
    assert "0.mp4: the file changed after it was hashed" in said
    assert "what the run holds of it stays (base)" in said
    assert pq.read_table(copy / "videos.parquet").to_pylist() == before
    assert pq.read_table(copy / "manifest.parquet").equals(manifest)

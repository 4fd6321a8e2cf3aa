"""What a clip is, its bytes tell: not its name, not what a table says, not the time of its file."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.textures import moving, write_file, write_files

from clipmill.curate.contract.schema import clip_id as id_of_clip
from clipmill.curate.contract.schema import video_id
from clipmill.curate.weights import sha256
from clipmill.evaluate import score
from clipmill.evaluate.sets import open_set

pytestmark = pytest.mark.slow


SETTINGS = {"clip_frames": 8, "n_real": 0, "n_fake": 0, "features": "mini"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """Three folders of videos that are not alike. Read-only."""
    folder = tmp_path_factory.mktemp("sets")
    for name in ("a", "b"):
        write_files(folder / name, moving(4, ord(name), 8, 32))
    return folder


def fvd(real, fake, cache) -> float:
    return float(score(["fvd"], real, fake, settings=SETTINGS, cache=cache, tell=None)[0])


def manifest(folder: Path, sources: Path, **columns) -> Path:
    """A manifest of the files in `sources` with clip ids that say nothing."""
    names = sorted(os.listdir(sources))
    rows = {"clip_id": [f"{k:032x}" for k in range(len(names))], "path": [os.path.abspath(sources / n) for n in names]}
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows | columns).to_parquet(folder / "manifest.parquet")
    return folder


def digests(sources: Path) -> list[str]:
    return [sha256(sources / n) for n in sorted(os.listdir(sources))]


def test_two_manifests_with_equal_ids_and_other_files_are_two_sets(sets, tmp_path):
    one, two = manifest(tmp_path / "1", sets / "a"), manifest(tmp_path / "2", sets / "b")
    truth = fvd(sets / "a", sets / "b", None)
    assert truth > 0.1
    assert fvd(one, two, tmp_path / "cache") == pytest.approx(truth, rel=1e-6)
    assert fvd(one, two, tmp_path / "cache") == pytest.approx(truth, rel=1e-6)


def test_a_stated_hash_that_disagrees_with_the_file_is_a_listed_skip(sets, tmp_path):
    stated = digests(sets / "a")
    whole = open_set(manifest(tmp_path / "1", sets / "a", sha256=stated))
    assert [v.key for v in whole.videos] == stated
    assert not whole.skipped
    wrong = open_set(manifest(tmp_path / "2", sets / "a", sha256=["0" * 64, *stated[1:]]))
    assert [v.key for v in wrong.videos] == stated[1:]
    assert [s.video_id for s in wrong.skipped] == ["0" * 32]
    assert "holds other bytes than the manifest says" in wrong.skipped[0].reason


def test_a_manifest_may_leave_hashes_out(sets, tmp_path):
    stated = [None, float("nan"), "", digests(sets / "a")[3]]
    found = open_set(manifest(tmp_path / "1", sets / "a", sha256=pd.Series(stated, dtype=object)))
    assert [v.key for v in found.videos] == digests(sets / "a")


def replace(path: Path, by: Path) -> None:
    """Other bytes, of the same number, with the same time of modification, in the same inode."""
    facts, data = path.stat(), by.read_bytes()
    path.write_bytes(data + bytes(facts.st_size - len(data)))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("kind", ["folder", "manifest", "tar", "frames", "array"])
def test_a_file_replaced_by_one_of_the_same_size_and_time_has_another_score(sets, tmp_path, kind):
    videos, cache = tmp_path / "videos", tmp_path / "cache"
    other = moving(4, 99, 8, 32)
    if kind == "array":
        fake = tmp_path / "v.npy"
        np.save(fake, moving(4, 7, 8, 32))
        np.save(tmp_path / "new.npy", other)
        changes = [(fake, tmp_path / "new.npy")]
    elif kind == "frames":
        fake = videos
        changes = same_size_frames(videos, tmp_path / "new")
    else:
        write_files(videos, moving(4, 7, 8, 32))
        write_files(tmp_path / "new", other)
        paths = [videos / f"v{k}.mp4" for k in range(4)]
        room = 4096 + max(p.stat().st_size for p in [*paths, *(tmp_path / "new").iterdir()])
        for path in paths:  # so that the other one fits
            path.write_bytes(path.read_bytes() + bytes(room - path.stat().st_size))
        fake, changes = packed(kind, videos, tmp_path)
    for path, _ in changes:
        os.utime(path, ns=(10**18, 10**18))
    time.sleep(2.1)  # it is remembered from now on
    before = fvd(sets / "a", fake, cache)
    assert fvd(sets / "a", fake, cache) == before
    for path, by in changes:
        replace(path, by)
    after = fvd(sets / "a", fake, cache)
    assert after == pytest.approx(fvd(sets / "a", fake, None), rel=1e-6)
    assert after != pytest.approx(before, rel=1e-6)


def same_size_frames(videos: Path, new: Path) -> list[tuple[Path, Path]]:
    """Folders of frames, without compression, and other pictures for some of them."""
    import cv2

    for folder, pixels in ((videos, moving(4, 7, 8, 32)), (new, moving(4, 99, 8, 32))):
        for k, video in enumerate(pixels):
            (folder / f"v{k}").mkdir(parents=True)
            for t, picture in enumerate(video):
                cv2.imwrite(str(folder / f"v{k}" / f"{t}.bmp"), picture)
    return [(videos / f"v{k}" / "3.bmp", new / f"v{k}" / "3.bmp") for k in range(4)]


def packed(kind: str, videos: Path, folder: Path) -> tuple[str | Path, list[tuple[Path, Path]]]:
    import tarfile

    changes = [(videos / f"v{k}.mp4", folder / "new" / f"v{k}.mp4") for k in range(4)]
    if kind == "folder":
        return videos, changes
    if kind == "manifest":
        return manifest(folder / "m", videos), changes
    tar = folder / "s.tar"
    with tarfile.open(tar, "w") as archive:
        for path, _ in changes:
            archive.add(path, path.name)
    for path, by in changes:
        replace(path, by)
    with tarfile.open(folder / "new.tar", "w") as archive:
        for path, _ in changes:
            archive.add(path, path.name)
    return str(folder / "*s.tar"), [(tar, folder / "new.tar")]


def of_a_source(folder: Path, source: Path, **columns) -> Path:
    """The manifest of a run that was not exported, of one source video: two clips."""
    video = video_id(sha256(source))
    spans = [(0, 4096), (4096, 8192)]
    rows = [
        {
            "clip_id": id_of_clip(video, *s),
            "video_id": video,
            "uri": source.as_uri(),
            "start_pts": s[0],
            "end_pts": s[1],
        }
        for s in spans
    ]
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).assign(**columns).to_parquet(folder / "manifest.parquet")
    return folder


def test_clips_of_a_source_that_was_replaced_are_listed_skips(tmp_path):
    source = write_file(tmp_path / "s.mp4", moving(1, 1, 16, 32)[0])
    run = of_a_source(tmp_path / "run", source)
    before = open_set(run)
    ids = [id_of_clip(video_id(sha256(source)), *s) for s in ((0, 4096), (4096, 8192))]
    assert sorted(v.key for v in before.videos) == sorted(f"{i}:None" for i in ids), "as they were before"
    by_hand = of_a_source(tmp_path / "hand", source, clip_id=["one", "two"], video_id="mine")
    assert {v.key for v in open_set(by_hand).videos} == {v.key for v in before.videos}
    replace(source, write_file(tmp_path / "t.mp4", np.zeros((4, 32, 32, 3), np.uint8)))
    assert not {v.key for v in open_set(by_hand).videos} & {v.key for v in before.videos}
    with pytest.raises(Exception, match=r"2 skipped.*its source s.mp4 holds other bytes than the manifest says"):
        open_set(run)


def test_a_file_that_changes_while_it_is_measured_is_no_score(sets, tmp_path):
    source = write_file(tmp_path / "v" / "s.mp4", moving(1, 1, 16, 32)[0])
    video = open_set(tmp_path / "v").videos[0]
    replace(source, source)
    with pytest.raises(Exception, match="changed while it was measured"), video.open() as frames:
        frames.read(np.arange(4))

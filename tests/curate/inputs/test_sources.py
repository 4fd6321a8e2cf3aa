"""Finding and indexing input files: nothing is lost, nothing is read twice, names may be anything."""

import hashlib
import os
import time

import pytest

from clipmill.curate.errors import UserError
from clipmill.curate.inputs.files import find_sources, index_sources, path_of


def indexed(folder, cache, ticks=None):
    sources, skipped = find_sources([folder])
    return index_sources(sources, cache, 2, (ticks.append if ticks is not None else lambda _: None)), skipped


def test_links_loops_hidden_files_and_sidecars(tmp_path):
    videos = tmp_path / "in"
    (videos / "a").mkdir(parents=True)
    (videos / "a" / "clip.mp4").write_bytes(b"one")
    (videos / "clip.mp4").write_bytes(b"two")
    (videos / "no_extension").write_bytes(b"three")
    (videos / "notes.txt").write_text("text")
    (videos / ".hidden.mp4").write_bytes(b"four")
    (videos / "a" / "loop").symlink_to(videos)
    (videos / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    sources, skipped = indexed(videos, tmp_path / "index.parquet")
    assert [s.relpath for s in sources] == ["a/clip.mp4", "clip.mp4", "gone.mp4", "no_extension"]
    assert skipped == 1
    assert [s.problem for s in sources] == [None, None, "No such file or directory", None]
    assert len({s.video_id for s in sources}) == 4


def test_copies_are_marked_and_the_first_name_is_kept(tmp_path):
    videos = tmp_path / "in"
    videos.mkdir()
    for name in ("b.mp4", "a.mp4", "c.mp4"):
        (videos / name).write_bytes(b"same" if name != "c.mp4" else b"other")
    sources, _ = indexed(videos, tmp_path / "index.parquet")
    assert [(s.relpath, s.duplicate_of) for s in sources] == [("a.mp4", None), ("b.mp4", "a.mp4"), ("c.mp4", None)]


def test_file_names_survive_whatever_bytes_they_hold(tmp_path):
    videos = tmp_path / "in"
    videos.mkdir()
    names = [b"with space.mp4", "日本語 ü.mp4".encode(), b"bad\xff\xfe.mp4", b"100%25#?.mp4", b"new\nline.mp4"]
    for name in names:
        (videos / os.fsdecode(name)).write_bytes(name)
    sources, _ = indexed(videos, tmp_path / "index.parquet")
    assert sorted(os.fsencode(path_of(s.uri).name) for s in sources) == sorted(names)
    assert all(s.relpath.encode("utf-8") for s in sources)


@pytest.mark.parametrize("settled", [False, True])
def test_a_file_replaced_by_one_of_the_same_size_and_time_is_read_again(tmp_path, settled):
    videos, cache = tmp_path / "in", tmp_path / "index.parquet"
    videos.mkdir()
    (videos / "a.mp4").write_bytes(b"one")
    os.utime(videos / "a.mp4", ns=(10**18, 10**18))
    if settled:
        time.sleep(2.1)  # a younger file is not remembered
    before, _ = indexed(videos, cache)
    assert (cache.with_suffix(".content").exists()) == settled
    (videos / "a.mp4").write_bytes(b"two")
    os.utime(videos / "a.mp4", ns=(10**18, 10**18))
    after, _ = indexed(videos, cache)
    assert [s[0].sha256 for s in (before, after)] == [hashlib.sha256(b).hexdigest() for b in (b"one", b"two")]


def test_nothing_to_do_is_one_clear_line(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"no videos below .*\(1 other files\)"):
        find_sources([tmp_path])
    with pytest.raises(UserError, match="there is no file or folder"):
        find_sources([tmp_path / "missing"])

"""Finding and indexing input files: nothing is lost, nothing is read twice, names may be anything."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from helpers.rights import bound_by_rights

from clipmill.curate.errors import UserError
from clipmill.curate.inputs.files import find_sources, index_sources, passed_over, path_of


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
    assert skipped == {".txt": 1}
    assert [s.problem for s in sources] == [
        None,
        None,
        f"a link to {tmp_path}/nowhere.mp4, which is not there",
        None,
    ]
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


def problems(folder, cache):
    return {s.relpath: s.problem for s in indexed(folder, cache)[0]}


def test_links_in_circles_out_and_nowhere_are_rows_and_end(tmp_path):
    videos, other = tmp_path / "in", tmp_path / "other"
    for name in ("in/a", "in/b", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "clip.mp4").write_bytes(name.encode())
    (videos / "loop").symlink_to("loop")
    (videos / "ping.mp4").symlink_to("pong.mp4")
    (videos / "pong.mp4").symlink_to("ping.mp4")
    (videos / "a" / "to_b").symlink_to(videos / "b")
    (videos / "b" / "to_a").symlink_to(videos / "a")
    (videos / "outside").symlink_to(other)
    (videos / "nowhere").symlink_to("/no/such/place")
    os.mkfifo(videos / "pipe.mp4")
    circle = "a link that leads in a circle"
    assert problems(videos, tmp_path / "index.parquet") == {
        "a/clip.mp4": None,
        "a/to_b/clip.mp4": None,  # each real folder once, whatever leads to it first
        "loop": circle,
        "nowhere": "a link to /no/such/place, which is not there",
        "outside/clip.mp4": None,
        "ping.mp4": circle,
        "pipe.mp4": "not a regular file",
        "pong.mp4": circle,
    }


def test_folders_nested_deeper_than_calls_and_paths_may_be(tmp_path):
    videos = tmp_path / "in"
    videos.mkdir()
    before = os.getcwd()
    try:
        os.chdir(videos)
        for _ in range(1100):
            os.mkdir("fff")
            os.chdir("fff")
        Path("deep.mp4").write_bytes(b"deep")
        os.chdir(before)
        (videos / "clip.mp4").write_bytes(b"one")
        found = problems(videos, tmp_path / "index.parquet")
    finally:
        os.chdir(before)
        subprocess.run(["rm", "-rf", videos], check=True)  # Python's own way is a call a level
    assert found.pop("clip.mp4") is None
    assert list(found.values()) == ["this folder cannot be listed: File name too long"]


def test_what_must_not_be_read_is_a_row(tmp_path):
    videos = tmp_path / "in"
    (videos / "closed").mkdir(parents=True)
    (videos / "listed").mkdir()
    for name in ("closed/a.mp4", "listed/b.mp4", "c.mp4", "d.mp4"):
        (videos / name).write_bytes(name.encode())
    (videos / "closed").chmod(0)
    (videos / "listed").chmod(0o400)  # names, and nothing else
    (videos / "c.mp4").chmod(0)
    with bound_by_rights():
        found = problems(videos, tmp_path / "index.parquet")
        with pytest.raises(UserError, match=r"closed.*cannot be listed: Permission denied"):
            find_sources([videos / "closed"])
        with pytest.raises(UserError, match=r"closed/a.mp4 cannot be opened: Permission denied"):
            find_sources([videos / "closed" / "a.mp4"])
    for name in ("closed", "listed"):
        (videos / name).chmod(0o755)
    assert found == {
        "c.mp4": "Permission denied",
        "closed": "this folder cannot be listed: Permission denied",
        "d.mp4": None,
        "listed/b.mp4": "Permission denied",
    }


def test_a_folder_that_goes_while_it_is_listed(tmp_path):
    from clipmill.curate.inputs.walk import walk

    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "clip.mp4").touch()
    steps = walk(tmp_path / "in")
    first = next(steps)
    shutil.rmtree(tmp_path / "in" / "b")
    assert [first, *steps] == [
        (tmp_path / "in" / "a" / "clip.mp4", None),
        (tmp_path / "in" / "b", "this folder cannot be listed: No such file or directory"),
    ]


def test_addresses_and_what_is_neither_file_nor_folder(tmp_path):
    with pytest.raises(UserError, match=r"^s3://bucket/videos is an address"):
        find_sources([Path("s3://bucket/videos")])
    with pytest.raises(UserError, match=r"^https://x.y/a.mp4 is an address"):
        find_sources([Path("https://x.y/a.mp4")])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        find_sources([tmp_path / "pipe"])


def test_pictures_beside_videos_are_counted_and_text_is_not(tmp_path):
    for name in ("a.mp4", *(f"{i:04}.png" for i in range(30)), "moving.webp", "a.txt", "captions.csv"):
        (tmp_path / name).write_bytes(name.encode())
    _, skipped = find_sources([tmp_path])
    assert passed_over(skipped) == "31 files passed over, which by their names are no videos: 30 .png, 1 .webp"
    assert passed_over({".txt": 3}) == ""

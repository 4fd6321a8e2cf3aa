"""What is remembered of a file's content holds for that content alone."""

import hashlib
import os
import time

import pytest

from clipmill.curate.common.content import Changed, Digests, Span, state_of, unchanged


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    """A file that nobody has touched for more than two seconds, and its memory. Read-only."""
    path = tmp_path_factory.mktemp("settled") / "file"
    path.write_bytes(b"0123456789")
    time.sleep(2.1)
    memory = path.with_suffix(".content")
    digests = Digests(memory)
    assert digests.of(path).sha256 == sha256(b"0123456789")
    assert digests.of(path, Span(2, 3)).sha256 == sha256(b"234")
    digests.save()
    return path, memory


def test_a_memory_tells_what_was_read(settled):
    path, memory = settled
    assert [line.split()[-1] for line in memory.read_text().splitlines()[1:]] == [sha256(b"0123456789"), sha256(b"234")]
    forged = memory.with_name("forged")
    body = memory.read_bytes().partition(b"\n")[2].replace(sha256(b"234").encode(), b"f" * 64)
    forged.write_bytes(b"clipmill content 1 " + sha256(body).encode() + b"\n" + body)
    assert Digests(forged).of(path, Span(2, 3)).sha256 == "f" * 64, "it was read again"


@pytest.mark.parametrize("damage", ["empty", "cut", "flip", "other"])
def test_a_damaged_memory_is_made_again_and_said(settled, tmp_path, damage):
    path, memory = settled
    data = memory.read_bytes()
    flipped = data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]
    broken = tmp_path / "memory"
    broken.write_bytes({"empty": b"", "cut": data[:-30], "flip": flipped, "other": b"\x00\xff[]"}[damage])
    said = []
    digests = Digests(broken, said.append)
    assert len(said) == 1
    assert "damaged" in said[0]
    assert digests.of(path).sha256 == sha256(b"0123456789")
    digests.save()
    assert Digests(broken, said.append).of(path) == digests.of(path)
    assert len(said) == 1


def test_two_memories_at_once_lose_nothing_that_the_first_had_written(settled, tmp_path):
    path, _ = settled
    one, two = Digests(tmp_path / "m"), Digests(tmp_path / "m")
    one.of(path), two.of(path, Span(5))
    one.save(), two.save()
    assert len((tmp_path / "m").read_text().splitlines()) == 3


@pytest.mark.parametrize("how", ["in place", "renamed", "kept times"])
def test_a_file_of_the_same_size_and_time_that_was_replaced_is_read_again(tmp_path, how):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, ns=(10**18, 10**18))
    digests = Digests(tmp_path / "memory")
    assert digests.of(path).sha256 == sha256(b"one")
    digests.save()
    target = tmp_path / "new" if how == "renamed" else path
    target.write_bytes(b"two")
    if how == "kept times":
        os.utime(target, ns=(10**18, 10**18))
    target.rename(path)
    assert digests.of(path).sha256 == Digests(tmp_path / "memory").of(path).sha256 == sha256(b"two")


def test_what_cannot_be_read_whole_has_no_content(tmp_path):
    (tmp_path / "short").write_bytes(b"abc")
    for path, span in ((tmp_path, Span()), (tmp_path / "gone", Span()), (tmp_path / "short", Span(1, 9))):
        with pytest.raises(OSError, match=r"regular|No such|too early"):
            Digests().of(path, span)
    assert state_of(tmp_path / "short").size_bytes == 3


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_is_replaced_before_or_while_it_is_read_is_noticed(tmp_path, known):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    state = state_of(path) if known else None
    with unchanged(path, sha256(b"one"), state):
        path.rename(tmp_path / "away")
        (tmp_path / "away").rename(path)  # another state, the same bytes
    with pytest.raises(Changed, match="changed after it was hashed"), unchanged(path, sha256(b"one"), state):
        raise ValueError(f"what came of {path.write_bytes(b'two')} bytes is not the reason")
    with pytest.raises(Changed), unchanged(path, sha256(b"one"), state):
        raise AssertionError("never read")
    path.unlink()
    with pytest.raises(FileNotFoundError), unchanged(path, sha256(b"one"), state):
        pass


def test_a_file_in_the_state_that_is_known_is_not_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    with unchanged(path, "of other bytes: nobody looks", state_of(path)):
        pass


def test_what_is_known_is_told_without_reading(settled):
    path, memory = settled
    assert Digests(memory).known(path) == Digests(memory).of(path)
    assert Digests().known(path) is None
    assert Digests(memory).known(path.with_name("absent")) is None

"""Videos in arrays: .npy or .npz of uint8 [N, T, H, W, 3]."""

import hashlib
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from clipmill.curate.common.memory import check_fits
from clipmill.curate.errors import UserError, one_line
from clipmill.evaluate.sets import Video, VideoSet

# What reading a damaged .npy or .npz raises.
BROKEN_ARRAYS = (
    MemoryError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


class ArrayFrames:
    """One video of an array, uint8 [T, H, W, 3]; it has frames but no times."""

    def __init__(self, video: np.ndarray) -> None:
        self._video = video

    def times_s(self) -> np.ndarray:
        """See `Frames`: NaN."""
        return np.full(len(self._video), np.nan)

    def read(self, index: np.ndarray) -> np.ndarray:
        """See `Frames`."""
        return np.ascontiguousarray(self._video[index])


def array_set(videos: np.ndarray | Sequence[np.ndarray], name: str) -> VideoSet:
    """Of one array, or of a list of videos of different sizes. Raises UserError where it is not uint8 [N, T, H, W, 3]:
    a float's range would have to be guessed.
    """
    if not isinstance(videos, np.ndarray):
        for video in videos:
            array_set(video[None], f"an array of the {name}")
        return VideoSet(name, "array", _videos(videos))
    if videos.dtype != np.uint8:
        raise UserError(
            f"{name} holds {videos.dtype}: videos are uint8, 0 to 255 (floats may mean 0..1, -1..1 or 0..255)"
        )
    if videos.ndim != 5 or videos.shape[-1] != 3:
        raise UserError(f"{name} has shape {list(videos.shape)}: videos are [N, T, H, W, 3]")
    return VideoSet(name, "array", _videos(videos))


def _videos(videos: Iterable[np.ndarray]) -> list[Video]:
    return [Video(f"{i:06d}", _key(v), partial(_opened, v)) for i, v in enumerate(videos)]


def file_set(path: Path) -> VideoSet:
    """The videos of an .npy file, or of the one array in an .npz file. Pickled arrays are refused."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            check_unpacked(path)
            if len(loaded.files) != 1:
                raise UserError(f"{path} holds {len(loaded.files)} arrays ({', '.join(loaded.files[:4])}), not one")
            loaded = loaded[loaded.files[0]]
    except OSError as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    except BROKEN_ARRAYS as error:
        raise UserError(f"cannot read {path}: it holds no plain array (pickled objects are refused)") from error
    return array_set(loaded, str(path))


def check_unpacked(path: Path) -> None:
    """Before an .npz is read: its arrays are unpacked in memory, and some kilobytes may hold or claim any number of
    zeros. Raises UserError where they do not fit, ValueError (see BROKEN_ARRAYS) where a header says another size than
    its file has.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_fits(sum(m.file_size for m in members), f"unpacking {path}", "save its array as .npy, which needs none")
        for member in members:
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
                shape, _, kind = header(file)
                claimed_bytes = math.prod(shape) * kind.itemsize
                if not kind.hasobject and claimed_bytes != member.file_size - file.tell():
                    raise ValueError(f"{member.filename} claims {claimed_bytes:,} bytes")


def _key(video: np.ndarray) -> str:
    return hashlib.sha256(f"{video.shape}".encode() + np.ascontiguousarray(video).tobytes()).hexdigest()[:32]


@contextmanager
def _opened(video: np.ndarray) -> Iterator[ArrayFrames]:
    yield ArrayFrames(video)

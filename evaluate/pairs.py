"""Which original a reconstruction belongs to, whatever the two are stored as."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from clipmill.evaluate.sets import Skip, Video, VideoSet


@dataclass(frozen=True)
class Pairs:
    """originals: by the name of their reconstruction. fake: the reconstructions that have one, in order; the others
    are among its `skipped`. unused: how many originals no reconstruction is of.
    """

    originals: Mapping[str, Video]
    fake: VideoSet
    unused: int


def paired(real: VideoSet, fake: VideoSet) -> Pairs:
    """By name where the names are equal; else by the name without its suffix (a.mp4, a.mkv, a/0000.png), with its
    folders or, where that is unique, without them. Arrays have no names: by order, where both sets hold equally many.
    """
    originals: dict[str, Video] = {}
    skipped = list(fake.skipped)
    by_order = "array" in (real.kind, fake.kind) and real.kind != fake.kind
    if by_order and len(real.videos) == len(fake.videos):
        originals = {f.video_id: r for r, f in zip(real.videos, fake.videos, strict=True)}
    else:
        names = _Names(real.videos)
        doubled = _Names(fake.videos)
        for video in fake.videos:
            found = names.find(video.video_id, doubled)
            if isinstance(found, Video):
                originals[video.video_id] = found
            else:
                counts = (
                    f"; arrays go by order, and there are {len(real.videos)} real videos and {len(fake.videos)} fake"
                )
                skipped.append(Skip(video.video_id, found + (counts if by_order else "")))
    videos = [replace(v, beside=originals[v.video_id].key) for v in fake.videos if v.video_id in originals]
    used = {v.video_id for v in originals.values()}
    return Pairs(originals, replace(fake, videos=videos, skipped=tuple(skipped)), len(real.videos) - len(used))


class _Names:
    """The videos of a set by their whole name, by it without suffix, and by its last part without suffix."""

    def __init__(self, videos: Sequence[Video]) -> None:
        self._whole = {v.video_id: v for v in videos}
        self._stems: dict[str, list[Video]] = defaultdict(list)
        self._last: dict[str, list[Video]] = defaultdict(list)
        for video in videos:
            self._stems[_stem(video.video_id)].append(video)
            self._last[PurePosixPath(_stem(video.video_id)).name].append(video)

    def find(self, name: str, fakes: "_Names") -> Video | str:
        """The original of a reconstruction, or why there is none. fakes: its own set."""
        if name in self._whole:
            return self._whole[name]
        stem = _stem(name)
        last = PurePosixPath(stem).name
        for mine, theirs in ((self._stems[stem], fakes._stems[stem]), (self._last[last], fakes._last[last])):
            if len(mine) > 1:
                return f"{len(mine)} videos of the real set may be its original: {_some(mine)}"
            if len(mine) == 1 and len(theirs) > 1:
                return f"{len(theirs)} videos of this set may be of the original {mine[0].video_id}: {_some(theirs)}"
            if len(mine) == 1:
                return mine[0]
        return "no video of this name in the real set"


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    # What follows the last dot is a suffix only where it is short and no number: "clip.0001" is a name.
    suffix = path.suffix[1:]
    return str(path.with_suffix("")) if 0 < len(suffix) <= 5 and not suffix.isdigit() else name


def _some(videos: Sequence[Video]) -> str:
    return ", ".join(v.video_id for v in videos[:3]) + (", ..." if len(videos) > 3 else "")

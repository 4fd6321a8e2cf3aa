"""Whole runs over files that are not as plain as they look."""

import pyarrow.parquet as pq
import pytest
from helpers.commands import SHARED, invoke

CASES = SHARED / "cases" / "media"
PRESET = """# Light.

annotators = ["quality"]

[scenes]
detector = "cascade"

[policy]
text_area = "off"
motion = "off"
dup_rank = "off"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list]:
    """(relpath -> row of videos, rows of clips) of the handed cases."""
    if not CASES.is_dir():
        pytest.skip(f"the cases are not at {CASES}")
    folder = tmp_path_factory.mktemp("media")
    (folder / "light.toml").write_text(PRESET)
    done = invoke("curate", "run", CASES, "--out", folder / "run", "--preset", folder / "light.toml", "--no-export")
    assert done.returncode == 0, done.stderr
    videos = pq.read_table(folder / "run" / "videos.parquet").to_pylist()
    return {row["relpath"]: row for row in videos}, pq.read_table(folder / "run" / "manifest.parquet").to_pylist()


@pytest.mark.slow
def test_every_video_comes_out_right(run):
    videos, _ = run
    whole = {
        name: (row["n_frames_decoded"], row["duration_s"]) for name, row in videos.items() if row["status"] == "ok"
    }
    assert whole == {
        "anim.avif": (125, pytest.approx(5.0)),
        "cat_two.ts": (150, pytest.approx(6.0)),
        "gif_last5s.gif": (25, pytest.approx(5.96)),
        "hflip_matrix.mp4": (125, pytest.approx(5.0)),
        "slides_10s.mp4": (12, pytest.approx(120.0)),
        "subs_longer.mkv": (125, pytest.approx(5.0)),
    }
    assert {name for name, row in videos.items() if row["mirrored"]} == {"hflip_matrix.mp4"}
    assert {name: row["n_discontinuities"] for name, row in videos.items() if row["n_discontinuities"]} == {
        "cat_two.ts": 1
    }
    assert [row["relpath"] for row in videos.values() if row["status"] == "partial"] == ["flips_mid.mp4"]
    assert videos["flips_mid.mp4"]["n_corrupt_frames"] > 0


@pytest.mark.slow
def test_every_refusal_has_its_true_reason(run):
    videos, _ = run
    assert "not a video format" in videos["art.nfo"]["error_message"]
    assert videos["song_cover.mp4"]["error_message"] == "only a cover picture beside audio"
    for name in ("one", "two"):
        playlist = videos[f"hls_same_playlist/{name}/index.m3u8"]
        assert (playlist["status"], playlist["duplicate_of"]) == ("error", None)
        assert "an HLS playlist" in playlist["error_message"]
        assert "without its initialisation" in videos[f"hls_same_playlist/{name}/index0.m4s"]["error_message"]


@pytest.mark.slow
def test_every_clip_is_decided_rightly(run):
    _, clips = run
    reasons = {(clip["relpath"], clip["clip_index"]): clip["failed_filters"] for clip in clips}
    assert reasons["cat_two.ts", 0] == reasons["cat_two.ts", 1] == []
    # The second clip may begin behind the last frame that is marked: it lies before the next key frame all the same.
    assert reasons["flips_mid.mp4", 0] == ["n_corrupt_frames", "n_frames_after_corrupt"]
    assert "n_frames_after_corrupt" in reasons["flips_mid.mp4", 1]
    assert [r for (name, _), r in sorted(reasons.items()) if name == "slides_10s.mp4"] == [["dup_frame_share"]] * 12
    assert reasons["gif_last5s.gif", 0] == ["dup_frame_share"]

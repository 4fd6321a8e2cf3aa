"""`models train --one`: a video file in place of a run."""

from pathlib import Path

import pytest
from helpers.commands import invoke
from helpers.tiny_videos import write_tiny

from clipmill.curate import Run
from clipmill.curate.errors import UserError
from clipmill.models.processes import start
from clipmill.models.settings.source import OneVideo
from clipmill.models.training.data.one_video import run_of


def run_in(out: Path, path: Path, caption: str = "a red ball") -> Path:
    return run_of(OneVideo(path, caption), out, start("cpu"), lambda line: None)


def test_a_video_is_one_clip_with_its_caption_whatever_it_shows(tmp_path):
    """Two shots of another colour each, of a third of a second, still."""
    video = write_tiny(tmp_path / "video.mp4", 3, 8, steps=(0, 0))
    clips = Run(run_in(tmp_path / "out", video)).pandas()
    assert len(clips) == 1
    row = clips.iloc[0]
    assert (row["export_n_frames"], row["export_width"], row["export_height"]) == (16, 64, 48)
    assert row["export_fps_num"] / row["export_fps_den"] == 25
    assert [caption["text"] for caption in row["captions"]] == ["a red ball"]
    assert (row["split"], bool(row["keep"])) == ("train", True)


def test_a_training_that_goes_on_takes_the_video_that_it_began_with_and_no_other(tmp_path):
    video, out = write_tiny(tmp_path / "video.mp4", 3, 8), tmp_path / "out"
    made = run_in(out, video)
    (out / "card.json").write_text("{}")
    before = (made / "manifest.parquet").stat().st_mtime_ns
    assert run_in(out, video) == made
    assert (made / "manifest.parquet").stat().st_mtime_ns == before, "nothing is made again"
    for path, caption in ((video, "a ball"), (write_tiny(tmp_path / "other" / "video.mp4", 4, 8), "a red ball")):
        with pytest.raises(UserError, match="not begun with this video and caption"):
            run_in(out, path, caption)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "training is of a RUN or of --one VIDEO"),
        (("run", "--one", "text.mp4"), "training is of a RUN or of --one VIDEO"),
        (("run", "--caption", "a ball"), "--caption says what the video of --one shows"),
        (("--one", "nowhere.mp4"), "there is none at nowhere.mp4"),
        (("--one", "text.mp4"), "text.mp4 does not decode as a video"),
        (("--one", "table.parquet"), "table.parquet does not decode as a video"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(words, says, tmp_path):
    for name in ("text.mp4", "table.parquet"):
        (tmp_path / name).write_text("no video")
    done = invoke("models", "train", *words, "--config", "tune-a-video-nano", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("letter", ["letter.txt", "one/letter.txt", "one/in/letter.txt"])
def test_a_folder_of_something_else_is_left_as_it_is(letter, tmp_path):
    """Also where it has the name of ours."""
    (tmp_path / "out" / letter).parent.mkdir(parents=True)
    (tmp_path / "out" / letter).write_text("dear")
    write_tiny(tmp_path / "video.mp4", 3, 8)
    words = ("--one", "video.mp4", "--config", "tune-a-video-nano", "--out", "out", "--device", "cpu")
    done = invoke("models", "train", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "is no checkpoint" in done.stderr
    assert [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")] == [Path(letter)]

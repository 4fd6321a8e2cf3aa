"""SpriteWorld: demo videos rendered from a seed, with a table of everything that was planted in them.

Textured sprites move over natural-looking backdrops by simple laws; shots are cut, dissolved and faded together, half
of them carry a defect a curation tool must find, and the files come in the containers and codecs that people really
have.

May import: errors alone: the demo knows nothing of what will look for its defects.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipmill.curate.demo.plan import VideoPlan


def render(folder: Path, minutes: float = 2.0, seed: int = 0, progress: Callable[[str], None] | None = None) -> Path:
    """Write about `minutes` of source videos (one at least), sidecar texts and the truth table below `folder`.

    The same (minutes, seed) give the same bytes of frames. `progress` is called with each file's name when it is done.
    Returns the path of `truth.parquet` (columns documented in clipmill.curate.demo.truth). Raises UserError where the
    folder cannot be written or `minutes` is not positive and finite.
    """
    from clipmill.curate.demo.plan import make_plan
    from clipmill.curate.demo.sidecars import write_sidecars
    from clipmill.curate.demo.truth import write_truth
    from clipmill.curate.errors import UserError, one_line

    if not 0 < minutes < 10_000:
        raise UserError(f"--minutes must be above 0, got {minutes}")
    videos = make_plan(minutes, seed)
    rows: list[dict[str, Any]] = []
    try:
        for video in videos:
            rows += render_video(videos, video, folder)
            if progress is not None:
                progress(video.file)
        write_sidecars(videos, rows, folder)
        return write_truth(rows, folder)
    except OSError as error:
        raise UserError(f"cannot write the demo videos to {folder}: {one_line(error)}") from error


def render_video(videos: "list[VideoPlan]", video: "VideoPlan", folder: Path) -> list[dict[str, Any]]:
    """Render and encode one file of the plan `videos`; returns its truth rows."""
    import cv2

    from clipmill.curate.demo.compose import frames
    from clipmill.curate.demo.shot import Shot
    from clipmill.curate.demo.timeline import make_timeline
    from clipmill.curate.demo.truth import video_rows
    from clipmill.curate.demo.writer import count_frames, open_writer

    path = folder / video.file
    path.parent.mkdir(parents=True, exist_ok=True)
    timeline = make_timeline(video)
    shots = [Shot(plan, (video.format.width, video.format.height)) for plan in video.shots]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with open_writer(path, video.format, timeline.time_base) as writer:
            for frame, rgb, pitch_hz in frames(timeline, shots):
                writer.frame(rgb, int(timeline.ticks[frame]))
                writer.tone(timeline.seconds(frame + 1), pitch_hz)
    finally:
        cv2.setNumThreads(threads)
    return video_rows(videos, video, timeline, shots, count_frames(path))

"""`models sample`."""

from collections.abc import Sequence
from pathlib import Path

from clipmill.curate.common.log import Tell, say
from clipmill.models.generate.loading import load
from clipmill.models.processes import sole, start
from clipmill.models.stages.chain import stages_of, write_stages
from clipmill.models.stages.request import Request
from clipmill.models.stages.sample_folder import SHEET


def sample(
    checkpoint: Path, out: Path, request: Request, overrides: Sequence[str], device: str, tell: Tell = say
) -> None:
    """Files that are there already are kept: an interrupted command goes on, and fewer videos than before take none
    away. Raises UserError, one line.
    """
    processes = start(device)
    with sole(out, processes):
        first = load(checkpoint, request.step, request.average, tuple(overrides))
        stages = stages_of(first, request, out)
        there, work = write_stages(stages, processes.device, tell), stages[-1][1]
    more = f", {there - work.count} of them from before" if there > work.count else ""
    alike = f"--set clip_frames={work.grid[0]} --set fps={work.fps:g}"
    tell(
        f"{there} videos in {out}{more}; look at {out / SHEET}; score them with: evaluate run REAL {out} {alike}"
        " --features mini"
    )

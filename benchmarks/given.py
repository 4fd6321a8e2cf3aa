"""What do the presets that are given something of a video make of clips that they have not seen?

    python benchmarks/given.py [--minutes 3] [--seed 0] [--work DIR]

Trains `demo-upscale`, `demo-interpolate` and `demo-continue` with their own settings on the run of `curate demo
--minutes 3` that `make demo` trains on, and lets each make one window of every held-out clip, from what it is given of
it. Values are in [-1, 1]. rms: root mean square difference to the true frames that were to be made, beside that of what
needs no model. change: root mean square difference from frame to frame, over that of the true window. fine: energy of
what bilinear halving and doubling loses, over that of the true window. Prints Markdown. With --work everything is kept
there, and what is there is not made again.
"""

import argparse
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from demo_training import command, curated, windows

from clipmill.evaluate.sets import open_set
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of, given_of
from clipmill.models.generate.loading import Loaded, load
from clipmill.models.generate.prompts import Wishes, draw_prompts
from clipmill.models.pixels import as_floats


@dataclass(frozen=True)
class Case:
    """places: frames that are given as they are; none for the whole video at half the side."""

    preset: str
    given: str
    places: tuple[int, ...] = ()


CASES = (
    Case("demo-upscale", "the video at half the side"),
    Case("demo-interpolate", "every third frame", tuple(range(0, 22, 3))),
    Case("demo-continue", "the first of 8", (0,)),
    Case("demo-continue", "the first four", (0, 1, 2, 3)),
    Case("demo-continue", "first and last", (0, 7)),
)


def trained(work: Path, run: Path, preset: str) -> tuple[Path, float]:
    """(checkpoint, CPU seconds of the whole command) of a training with the preset's own settings."""
    out, note = work / preset, work / f"{preset}-cpu-s.txt"
    if not note.is_file():
        before = _cpu_s()
        command("clipmill.models.cli", "train", run, "--config", preset, "--out", out, "--device", "cpu")
        note.write_text(f"{_cpu_s() - before:.1f}")
    return out, float(note.read_text())


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def truth(run: Path, loaded: Loaded) -> torch.Tensor:
    """uint8 [N, T, 3, H, W]: a window of each held-out clip that is long enough."""
    where = loaded.config.data.validation_where
    found, _ = windows([run], loaded.config, len(open_set(run, where).videos), where)
    return torch.from_numpy(found).permute(0, 1, 4, 2, 3).contiguous()


def made(loaded: Loaded, video: torch.Tensor, case: Case) -> torch.Tensor:
    """uint8 like the true videos: what the model makes of what it is given of them, which stays as it is."""
    generator = loaded.generator(torch.device("cpu"))
    grid = video.shape[1], video.shape[3], video.shape[4]
    latent_grid, prompts = (
        generator.autoencoder.latent_grid(grid),
        draw_prompts(loaded.root, len(video), 0, Wishes(), False),
    )
    if case.places:
        given = given_of(generator, {place: video[:, place] for place in case.places})
    else:
        given = generator.enlarged(_as_bytes(halved(as_floats(video))), grid)
    conditions, noise = conditions_of(generator, prompts, latent_grid), SampleNoise(0, range(len(video)))
    found = generator.videos(latent_grid, conditions, noise, given)
    found[:, list(case.places)] = video[:, list(case.places)]
    return found


def _as_bytes(video: torch.Tensor) -> torch.Tensor:
    return ((video + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def halved(video: torch.Tensor) -> torch.Tensor:
    """float [N, T, 3, H, W] -> half the side."""
    return F.avg_pool2d(video.flatten(0, 1), 2).unflatten(0, video.shape[:2])


def doubled(video: torch.Tensor) -> torch.Tensor:
    """float [N, T, 3, H, W] -> twice the side, bilinear."""
    large = F.interpolate(video.flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False)
    return large.unflatten(0, video.shape[:2])


def without_model(video: torch.Tensor, case: Case) -> dict[str, torch.Tensor]:
    """float [N, T, 3, H, W] -> what anybody would put there, by name."""
    if not case.places:
        return {"bilinear": doubled(halved(video))}
    places, frames = case.places, range(video.shape[1])
    nearest = [min(places, key=lambda place: abs(place - frame)) for frame in frames]
    found = {"the nearest given frame": video[:, nearest]}
    if places[-1] == frames[-1] and len(places) > 1:
        before = [max(place for place in places if place <= frame) for frame in frames]
        after = [min(place for place in places if place >= frame) for frame in frames]
        shares = [(f - b) / max(a - b, 1) for f, b, a in zip(frames, before, after, strict=True)]
        weight = torch.tensor(shares)[:, None, None, None]
        found["both neighbours mixed"] = (1 - weight) * video[:, before] + weight * video[:, after]
    return found


def rms(difference: torch.Tensor) -> float:
    """Root mean square."""
    return float(difference.double().square().mean().sqrt())


def fine(video: torch.Tensor) -> float:
    """Energy of what halving loses."""
    return rms(video - doubled(halved(video))) ** 2


def row(case: Case, cpu_s: float, real: torch.Tensor, samples: torch.Tensor) -> str:
    """real, samples: float [N, T, 3, H, W]."""
    chosen = [frame for frame in range(real.shape[1]) if frame not in case.places]
    plain = without_model(real, case)
    errors = "; ".join(f"{rms((other - real)[:, chosen]):.3f}, {name}" for name, other in plain.items())
    change, sharp = f"{rms(samples.diff(dim=1)) / rms(real.diff(dim=1)):.2f}", ""
    if not case.places:
        shares = [fine(video) / fine(real) for video in (samples, plain["bilinear"])]
        sharp = f"{shares[0]:.2f}; bilinear {shares[1]:.2f}"
    error = f"{rms((samples - real)[:, chosen]):.3f}"
    return f"| `{case.preset}` | {cpu_s:.0f} | {case.given} | {error} | {errors} | {change} | {sharp} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        run, told = curated(work, options.seed, options.minutes), ""
        print("| preset | CPU seconds | given | rms: samples | without a model | change | fine |")
        print("|---|---|---|---|---|---|---|")
        for case in CASES:
            checkpoint, cpu_s = trained(work, run, case.preset)
            loaded = load(checkpoint)
            video = truth(run, loaded)
            real, samples = as_floats(video), as_floats(made(loaded, video, case))
            told = told or f"{len(video)} windows; the standard deviation of their values is {float(real.std()):.2f}"
            print(row(case, cpu_s, real, samples), flush=True)
        print(f"\n{told}")


if __name__ == "__main__":
    main()

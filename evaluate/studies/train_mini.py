"""Trains the offline network `mini`: `python -m clipmill.evaluate.studies.train_mini`. Seeded, on one thread of a CPU,
in about a quarter of an hour.

It renders single shots of the demo's world, corrupts most of them, and learns to tell how things move (law, speed,
direction; half of the clips slow down, so that time has an arrow), what was done to the clip and how much of it, and
what is seen.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.demo.plan import LAWS, SHOT_S, ShotPlan
from clipmill.curate.demo.scene import Scene
from clipmill.curate.demo.shot import build_scene
from clipmill.curate.demo.textures import STYLES
from clipmill.evaluate.features.mini import DIM, WEIGHTS, MiniTrunk
from clipmill.evaluate.studies.degrade import CORRUPTIONS, Source

FRAMES = 16
STORED_PX, SIDE_PX = 72, 64
SHORT_SIDE_PX = 96  # drawn larger than stored: real clips arrive shrunk
ASPECTS = (16 / 9, 4 / 3, 1.0, 9 / 16)
STEP_S = (1 / 60, 1 / 8)
MOTION_LAWS = (*LAWS, "static")
CLASSES = ("none", *(c.name for c in CORRUPTIONS))
STATIC, REVERSE = MOTION_LAWS.index("static"), CLASSES.index("reverse")
OF_TWO = [k for k, c in enumerate(CORRUPTIONS) if c.name in ("interleave", "switch")]
# Camera x, y and sprites x, y in px of 64 per frame, turn in radians and zoom in natural logarithms per frame; each by
# its usual size.
MOTION_SCALES = np.array([0.5, 0.35, 0.6, 0.6, 0.025, 0.0025], np.float32)
_LEFT_RIGHT, _UP_DOWN = np.array([[-1, 1, -1, 1, -1, 1], [1, -1, 1, -1, -1, 1]], np.float32)  # mirrored motion
_RENDER, _AUGMENT, _WEIGHTS = 1, 2, 3  # streams of randomness


@dataclass(frozen=True)
class Clips:
    """Labelled clips. videos: uint8 [N, T, S, S, 3]. law, style: int64 [N]. hue: float32 [N, 2] cosine and sine.
    bright: float32 [N].
    motion: float32 [N, 6], see MOTION_SCALES. slows: bool [N], whether it loses speed, so that backwards can be told.
    """

    videos: np.ndarray
    law: np.ndarray
    style: np.ndarray
    hue: np.ndarray
    bright: np.ndarray
    motion: np.ndarray
    slows: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Corrupted clips and what is to be learned of each. severity: float32 [B, 12] in [0, 1]. known: bool [B], `motion`
    still holds.
    """

    videos: torch.Tensor
    law: torch.Tensor
    style: torch.Tensor
    hue: torch.Tensor
    bright: torch.Tensor
    motion: torch.Tensor
    known: torch.Tensor
    corruption: torch.Tensor
    severity: torch.Tensor


def render_clips(count: int, seed: int) -> Clips:
    """`count` single-shot clips without a video file in between, all laws alike often."""
    cv2.setNumThreads(1)
    rows = [_render(seed, i) for i in range(count)]
    return Clips(*(np.stack([row[f.name] for row in rows]) for f in fields(Clips)))


def _render(seed: int, i: int) -> dict[str, Any]:
    rng = np.random.default_rng((seed, i, _RENDER))
    aspect = ASPECTS[rng.integers(len(ASPECTS))]
    picture = (round(SHORT_SIDE_PX * max(1.0, aspect)), round(SHORT_SIDE_PX * max(1.0, 1 / aspect)))
    hue_deg, bright, law = float(rng.uniform(0, 360)), bool(rng.random() < 0.5), MOTION_LAWS[i % len(MOTION_LAWS)]
    plan = ShotPlan((seed, i, 0), law, float(rng.uniform(*SHOT_S)), hue_deg, bright, picture)
    scene = build_scene(plan)
    times_s, slows = _times(rng, plan.clean_s, law)
    crop = rng.random() < 0.5
    return {
        "videos": np.stack([_shrunk(scene.render(float(t)), crop) for t in times_s]),
        "law": np.int64(MOTION_LAWS.index(law)),
        "style": np.int64(STYLES.index(scene.style)),
        "hue": np.array([np.cos(np.radians(hue_deg)), np.sin(np.radians(hue_deg))], np.float32),
        "bright": np.float32(bright),
        "motion": _motion(scene, times_s),
        "slows": np.bool_(slows and law != "static"),
    }


def _times(rng: np.random.Generator, clean_s: float, law: str) -> tuple[np.ndarray, bool]:
    """When the frames are taken, float64 [T], and whether motion slows down over them."""
    longest_s = min(STEP_S[1], clean_s / (FRAMES - 1))
    span_s = (FRAMES - 1) * float(np.exp(rng.uniform(*np.log((STEP_S[0], longest_s)))))
    start_s, slows, rate = rng.uniform(0, clean_s - span_s), rng.random() < 0.5, rng.uniform(1.0, 2.5)
    u = np.linspace(0, 1, FRAMES)
    place = (1 - np.exp(-rate * u)) / (1 - np.exp(-rate)) if slows else u
    return start_s + span_s * place * (law != "static"), bool(slows)


def _shrunk(picture: np.ndarray, crop: bool) -> np.ndarray:
    """To the stored square, by its middle or by stretching: protocols do either."""
    if crop:
        height, width = picture.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        picture = picture[top : top + side, left : left + side]
    return cv2.resize(picture, (STORED_PX, STORED_PX), interpolation=cv2.INTER_AREA)


def _motion(scene: Scene, times_s: np.ndarray) -> np.ndarray:
    """float32 [6]: mean motion per frame, from the geometry, in units of MOTION_SCALES."""
    first, last = float(times_s[0]), float(times_s[-1])
    steps = len(times_s) - 1
    camera = scene.camera.position(last) - scene.camera.position(first)
    sprites = np.mean(
        [scene.sprite_matrix(s, last)[:2, 2] - scene.sprite_matrix(s, first)[:2, 2] for s in scene.sprites], axis=0
    )
    turn = np.mean([s.path.spin for s in scene.sprites]) * (last - first)
    zoom = scene.camera.zoom_rate * (last - first)
    moved = np.array([*(SIDE_PX * camera), *(SIDE_PX * sprites), turn, zoom], np.float32)
    return moved / steps / MOTION_SCALES


def batches(clips: Clips, size: int, steps: int, seed: int) -> Iterator[Batch]:
    """`steps` batches: clips in random order, cropped, mirrored, recoloured, corrupted."""
    rng = np.random.default_rng((seed, _AUGMENT))
    order = np.concatenate([rng.permutation(len(clips.law)) for _ in range(-(-size * steps // len(clips.law)))])
    for step in range(steps):
        chosen = order[step * size : (step + 1) * size]
        yield _collated(clips, [_example(clips, int(i), rng) for i in chosen], chosen)


def _collated(
    clips: Clips, examples: list[tuple[np.ndarray, np.ndarray, bool, np.ndarray]], chosen: np.ndarray
) -> Batch:
    videos, motion, known, severity = (np.stack(column) for column in zip(*examples, strict=True))
    # where two things were done, the stronger one names the clip
    corruption = np.where(severity.max(1) > 0, 1 + severity.argmax(1), 0)
    pixels = torch.from_numpy(videos).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    labels = (
        clips.law[chosen],
        clips.style[chosen],
        clips.hue[chosen],
        clips.bright[chosen],
        motion,
        known,
        corruption,
        severity,
    )
    return Batch(
        pixels.contiguous(memory_format=torch.channels_last_3d), *(torch.from_numpy(np.asarray(a)) for a in labels)
    )


def _example(clips: Clips, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool, np.ndarray]:
    """(uint8 [T, S, S, 3], motion, whether it is known, severity) of one augmented clip."""
    motion = clips.motion[i].copy()
    video = _view(clips.videos[i], rng)
    if rng.random() < 0.5:
        video, motion = video[:, :, ::-1], motion * _LEFT_RIGHT
    if rng.random() < 0.5:
        video, motion = video[:, ::-1], motion * _UP_DOWN
    severity = _severities(clips, i, rng)
    other = _view(clips.videos[rng.integers(len(clips.law))], rng) if any(severity[k] for k in OF_TWO) else video
    known = not any(severity[k] > 0 for k, c in enumerate(CORRUPTIONS) if c.temporal and c.name != "reverse")
    for k in np.flatnonzero(severity).tolist():
        video = CORRUPTIONS[k].change(np.ascontiguousarray(video), _level(k, severity[k]), Source(rng, other))
    return video, motion * (-1 if severity[REVERSE - 1] else 1), known, severity


def _view(video: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random crop, with the contrast and brightness of its channels a little changed."""
    top, left = rng.integers(0, STORED_PX - SIDE_PX + 1, 2)
    gain, offset = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3), rng.uniform(-15, 15)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    crop = video[:, top : top + SIDE_PX, left : left + SIDE_PX]
    return np.stack([table[crop[..., c], c] for c in range(3)], axis=-1)


def _severities(clips: Clips, i: int, rng: np.random.Generator) -> np.ndarray:
    """What is to be done to a clip, float32 [12]: nothing, one thing, or one to the pictures and one to their order."""
    severity = np.zeros(len(CORRUPTIONS), np.float32)
    kinds = [[k for k, c in enumerate(CORRUPTIONS) if c.temporal == temporal] for temporal in (False, True)]
    draw = rng.random()
    wanted = [] if draw < 0.25 else [kinds[0]] if draw < 0.5 else [kinds[1]] if draw < 0.9 else kinds
    for group in wanted:
        k = int(rng.choice(group))
        if clips.law[i] == STATIC and CORRUPTIONS[k].temporal and k not in OF_TWO:
            continue  # a still clip has no order to disturb
        severity[k] = 1.0 if CORRUPTIONS[k].of_clips else rng.uniform(0.1, 1.0)
    return severity


def _level(k: int, severity: float) -> float:
    """Severity 0 to 1 -> the corruption's own level, linear between the levels of the study."""
    levels = (0.0, *CORRUPTIONS[k].levels)
    return float(np.interp(severity, np.linspace(0, 1, len(levels)), levels))


class Student(nn.Module):
    """The trunk and a linear head for each thing to be learned."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = MiniTrunk()
        sizes = {"law": len(MOTION_LAWS), "style": len(STYLES), "hue": 2, "bright": 1, "motion": len(MOTION_SCALES)}
        sizes |= {"corruption": len(CLASSES), "severity": len(CORRUPTIONS)}
        self.heads = nn.ModuleDict({name: nn.Linear(DIM, n) for name, n in sizes.items()})

    def forward(self, videos: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 [B, 3, T, S, S] -> what each head says."""
        features = self.trunk(videos)
        return {name: head(features) for name, head in self.heads.items()}


def loss_of(said: dict[str, torch.Tensor], batch: Batch) -> torch.Tensor:
    """Sum over the tasks, weighted so that each matters."""
    motion = F.smooth_l1_loss(said["motion"], torch.asinh(batch.motion), reduction="none").mean(1)
    return (
        F.cross_entropy(said["law"], batch.law)
        + F.cross_entropy(said["corruption"], batch.corruption)
        + 20 * F.smooth_l1_loss(said["severity"], batch.severity)
        + 4 * (motion * batch.known).mean()
        + 0.4 * F.cross_entropy(said["style"], batch.style)
        + 0.3 * F.smooth_l1_loss(said["hue"], batch.hue)
        + 0.2 * F.binary_cross_entropy_with_logits(said["bright"][:, 0], batch.bright)
    )


def train(clips: Clips, steps: int, size: int, seed: int) -> Student:
    """`steps` of AdamW with one cosine; the same arguments give the same weights on the same machine."""
    torch.manual_seed(seed + _WEIGHTS)
    student = Student().to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(student.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps + 1, pct_start=0.1)
    for step, batch in enumerate(batches(clips, size, steps, seed)):
        loss = loss_of(student(batch.videos), batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step} of {steps}: loss {float(loss.detach()):.3f}", flush=True)
    return student.eval()


@torch.inference_mode()
def accuracies(student: Student, clips: Clips, seed: int) -> dict[str, float]:
    """On clips it has not seen, corrupted at random: shares of right answers; of `motion` the correlation.

    arrow_of_time: which of a clip and its reverse is backwards, of clips that slow down. order: told tampered order
    from natural, of moving clips.
    """
    found = list(batches(clips, 32, len(clips.law) // 32, seed))
    batch = Batch(*(torch.cat([getattr(b, f.name) for b in found]) for f in fields(Batch)))
    said = {k: torch.cat(parts) for k, parts in _by_head([student(b.videos) for b in found]).items()}
    right = said["corruption"].argmax(1) == batch.corruption
    tampered = torch.tensor([False, *(c.temporal and c.name != "reverse" for c in CORRUPTIONS)])
    moving = (batch.law != STATIC) & (batch.corruption != REVERSE)
    return {
        "law": _share(said["law"].argmax(1) == batch.law, ~tampered[batch.corruption]),
        "corruption": _share(right, torch.ones_like(right)),
        "order": _share(tampered[said["corruption"].argmax(1)] == tampered[batch.corruption], moving),
        "arrow_of_time": _arrow(student, clips, seed),
        "style": _share(said["style"].argmax(1) == batch.style, torch.ones_like(right)),
        "motion": _correlation(said["motion"][batch.known], torch.asinh(batch.motion[batch.known])),
        "severity": _correlation(said["severity"], batch.severity),
    }


def _arrow(student: Student, clips: Clips, seed: int) -> float:
    rng = np.random.default_rng((seed, _AUGMENT))
    forwards = np.stack([_view(v, rng) for v in clips.videos[clips.slows]])
    pixels = torch.from_numpy(forwards).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    ahead, back = (
        torch.cat([student(p)["corruption"][:, REVERSE] for p in x.split(32)]) for x in (pixels, pixels.flip(2))
    )
    return float((back > ahead).float().mean())


def _by_head(answers: list[dict[str, torch.Tensor]]) -> dict[str, list[torch.Tensor]]:
    return {name: [a[name] for a in answers] for name in answers[0]}


def _share(right: torch.Tensor, of: torch.Tensor) -> float:
    return float(right[of].float().mean())


def _correlation(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1])


def save(student: Student, path: Path, facts: dict[str, Any]) -> None:
    """The trunk as float32 safetensors, and `facts` with the file's checksum as JSON beside it."""
    from safetensors.torch import save as to_bytes

    state = {k: v.contiguous() for k, v in student.trunk.state_dict().items()}
    data = to_bytes(state)
    path.write_bytes(data)
    facts = facts | {
        "parameters": sum(p.numel() for p in student.trunk.parameters()),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Render, train, test, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--clips", type=int, default=4032)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    student = train(render_clips(asked.clips, asked.seed), asked.steps, asked.batch, asked.seed)
    held_out = accuracies(student, render_clips(768, asked.seed + 1), asked.seed + 1)
    facts = {"seed": asked.seed, "clips": asked.clips, "steps": asked.steps, "batch": asked.batch}
    save(student, asked.out, facts | {"held_out": {k: round(v, 3) for k, v in held_out.items()}})


if __name__ == "__main__":
    main()

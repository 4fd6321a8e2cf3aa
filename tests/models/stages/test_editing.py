"""`models sample --edit`: there and back again, and what the new caption changes."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.commands import invoke, models, one_line
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import PIXEL_STD, captioned_generator, gaussian_generator, markov, prompts
from helpers.tiny_videos import write_tiny

from clipmill.models.conditioning.contract import Conditions
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.files import write_mp4
from clipmill.models.stages.editing import edited
from clipmill.models.stages.sample_folder import frames_of

CPU = ("--device", "cpu")


def round_trip(steps: int, passes: int = 1) -> float:
    """Root mean square error of latents of variance one."""
    generator = gaussian_generator(markov(4, 0.8), steps=steps, inversion=passes)
    noise = SampleNoise(0, range(20))
    z = noise.normal((4, 3, 2, 2), "data")
    back = generator.latents((4, 2, 2), Conditions(), noise, z=generator.inverted(z, Conditions(), noise))
    return float((back - z).square().mean().sqrt())


def test_the_way_back_and_forth_ends_where_it_began_the_nearer_the_more_steps():
    errors = [round_trip(steps) for steps in (10, 20, 40)]
    assert errors[2] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.25), "first order"
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.25)
    assert round_trip(20, passes=4) < errors[1] / 20, "more passes of the same steps come nearer"


def test_an_edit_begins_at_the_video_and_not_at_other_noise():
    generator = gaussian_generator(markov(4, 0.8), steps=40)
    # Less than half as bright as usual: a sample of the model would not be.
    video = torch.randint(110, 150, (4, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wanted = [replace(prompt, video=video) for prompt in prompts(2)]
    found = edited("")(generator, wanted, SampleNoise(0, range(2)))
    assert int((found.int() - video.int()).abs().max()) <= 3


def test_what_the_captions_say_is_what_changes():
    """Two Gaussians of one width: the way back and forth is the difference of their means, however few the steps."""
    generator = captioned_generator(steps=20)
    means = [generator.network.mean_of(text) for text in ("a disc", "a square")]
    video = torch.randint(90, 160, (4, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wanted = [replace(prompts(1)[0], caption="a square", video=video)]
    found = edited("a disc")(generator, wanted, SampleNoise(0, [0]))
    moved = (means[1] - means[0]) * PIXEL_STD * 127.5
    assert abs(moved) > 4
    assert found.double().mean() - video.double().mean() == pytest.approx(moved, abs=1)
    assert float((found - video.double() - moved).abs().max()) < 2


def test_windows_are_changed_one_after_another(continues: Path, tmp_path: Path):
    """25 fps, of which the model sees every frame: three windows of four frames, and one frame is left over."""
    model_fps = json.loads((continues / "card.json").read_text())["fps"]
    colours = torch.randint(0, 256, (13, 3, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    video = colours.expand(-1, -1, 16, 16)
    write_mp4(tmp_path / "v.mp4", video, model_fps, lossless=True)
    same = ("--caption", "one", "--source-caption", "one", "--set", "sample.steps=64", "--set", "sample.inversion=3")
    options = ("--edit", tmp_path / "v.mp4", *CPU)
    out = tmp_path / "same"
    models("sample", continues, "--out", out, "--n", 3, *options, *same)
    table = pd.read_parquet(out / "manifest.parquet")
    assert table["caption"].tolist() == ["one"] * 3
    errors = [
        (frames_of(out / name).float() - video[4 * k : 4 * k + 4]).abs().mean() for k, name in enumerate(table["path"])
    ]
    others = [(frames_of(out / name).float() - video[:4]).abs().mean() for name in table["path"][1:]]
    assert max(errors) < 10, "what the latents keep of it"
    assert min(others) > 30
    models("sample", continues, "--out", out, "--n", 1, *options, *same)
    assert len(pd.read_parquet(out / "manifest.parquet")) == 3, "what was made before stays, and in the manifest"
    two = ("--caption", "one", "--caption", "two", "--set", "sample.steps=2")
    said = models("sample", continues, "--out", tmp_path / "two", *options, *two)
    assert "3 windows of 4 frames: 6 videos" in said.stdout + said.stderr
    assert "cropped" not in said.stdout + said.stderr
    table = pd.read_parquet(tmp_path / "two" / "manifest.parquet")
    assert table["caption"].tolist() == ["one", "two"] * 3
    assert table["clip_id"].is_unique


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--edit needs --caption"),
        (("--caption", "a", "--extend", 9), "leave --extend out"),
        (("--caption", "a", "--set", "sample.sampler=flow-euler"), "sample.sampler=ddim"),
        (("--caption", "a", "--set", "sample.steps=1"), "two steps or more"),
        (("--caption", "a", "--frames", 400), "holds no video of 400 frames"),
        (("--caption", "a", "--set", "sample.inversion=0"), "inversion"),
    ],
)
def test_what_cannot_be_edited_is_one_line(options: tuple, says: str, continues: Path, tmp_path: Path):
    video = write_tiny(tmp_path / "v.mp4")
    one_line(invoke("models", "sample", continues, "--out", tmp_path / "s", "--edit", video, *options, *CPU), says)
    assert not (tmp_path / "s").exists()


def test_a_source_caption_without_a_video_and_a_file_without_one(continues: Path, trained: Path, tmp_path: Path):
    def said(checkpoint: Path, *options: object) -> str:
        return one_line(invoke("models", "sample", checkpoint, "--out", tmp_path / "s", *options, *CPU))

    assert "give --edit" in said(continues, "--source-caption", "a")
    assert "reads no text" in said(trained, "--edit", write_tiny(tmp_path / "v.mp4"))
    (tmp_path / "words.mp4").write_text("no video")
    assert "words.mp4" in said(continues, "--edit", tmp_path / "words.mp4", "--caption", "a")
    assert "there is no" in said(continues, "--edit", tmp_path / "nowhere.mp4", "--caption", "a")

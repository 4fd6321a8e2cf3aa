"""Every preset: it builds at its small size, trains a step and samples; and its full size has the parameters that its
paper names.
"""

from dataclasses import replace

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_named, autoencoder_of, frozen
from clipmill.models.backbones.by_name import plan_named
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.observation import observed
from clipmill.models.config import AutoencoderConfig, from_dict, load, preset_names
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of, given_of, pictures_of
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.plan import AttentionPlan
from clipmill.models.network import Diffusion, Network, seeded_network
from clipmill.models.pixels import as_floats, standardised
from clipmill.models.settings.training import size_px
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.objectives.diffusion import DiffusionObjective

CPU = torch.device("cpu")
# A second and more.
LONG = ("imagen-video-s2", "imagen-video-s3", "imagen-video-t2", "imagen-video-t3", "vdm-large")
DIFFUSION = [name for name in preset_names() if load(name).trains == "diffusion"]


def batch_for(config, count: int = 2) -> VideoBatch:
    height, width = size_px(config.data.sizes[0])
    frames = config.data.frames[0] + config.data.images_per_clip
    video = torch.randint(
        0, 256, (count, frames, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    independent = (
        (torch.arange(frames) >= config.data.frames[0]).expand(count, -1) if config.data.images_per_clip else None
    )
    numbers = {name: torch.full((count,), 0.5) for name in config.conditioning.micro.columns}
    return VideoBatch(
        0,
        count,
        tuple(range(count)),
        ("a",) * count,
        video,
        None,
        ("a red ball",) * count,
        numbers,
        (None,) * count,
        independent,
    )


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in DIFFUSION])
def test_every_preset_trains_a_step_and_samples_at_its_small_size(name: str):
    config = load(f"{name}-nano")
    torch.manual_seed(0)
    autoencoder = frozen(autoencoder_named(config.autoencoder.kind, config.autoencoder.options), CPU)
    batch = batch_for(config)
    if getattr(autoencoder.config, "components", None) is not None:
        autoencoder.fit([as_floats(batch.video)])
    network = seeded_network(config, autoencoder)
    objective = DiffusionObjective(config, network, autoencoder, CPU)
    losses = objective("model", batch, 0)
    assert losses.each.shape == (2,)
    assert bool(torch.isfinite(losses.each).all())
    losses.each.mean().backward()
    moved = [n for n, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    assert moved, "no gradient reaches the network"
    for (
        parameter
    ) in network.parameters():  # its output is zero at the start, and a model of x would sample the same video always
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    frames = config.data.frames[0]
    grid = autoencoder.latent_grid((frames, *size_px(config.data.sizes[0])))
    generator = Generator(network, autoencoder, Diffusion(config), config.sample, CPU)
    first = (
        torch.zeros(3, *size_px(config.data.sizes[0]), dtype=torch.uint8)
        if network.conditioner.frame_channels
        and autoencoder.first_frame_alone
        and not config.conditioning.frames.needs_pixels
        else None
    )
    wanted = [
        Prompt(i, "a red ball", None, dict.fromkeys(config.conditioning.micro.columns, 0.5), first) for i in range(2)
    ]
    noise = SampleNoise(0, [0, 1])
    given, conditions = given_of(generator, pictures_of(wanted)), conditions_of(generator, wanted, grid)
    if config.conditioning.frames.needs_pixels:
        seen = autoencoder.encode(observed(config.conditioning.frames, as_floats(batch.video))).mean
        conditions = network.conditioner.with_observed(conditions, standardised(seen, autoencoder), noise)
    if not autoencoder.decodes:
        found = generator.latents(grid, conditions, noise)
        assert found.shape == (2, grid[0], autoencoder.latent_channels, *grid[1:])
        assert not torch.equal(found[0], found[1])
        return
    videos = generator.videos(grid, conditions, noise, given)
    assert videos.shape == (2, frames, 3, *size_px(config.data.sizes[0]))
    assert not torch.equal(videos[0], videos[1])


@pytest.mark.parametrize(
    ("name", "places"),
    [("demo-continue", (0,)), ("demo-continue", (2, 3)), ("demo-continue", (0, -1)), ("demo-interpolate", (0, 3))],
)
def test_given_frames_come_back_as_they_were(name: str, places: tuple[int, ...]):
    """Of the models that do not predict them: bit by bit, as latents."""
    config = load(f"{name}-nano")
    autoencoder, batch = autoencoder_of(config.autoencoder, CPU), batch_for(config)
    video, noise = as_floats(batch.video), SampleNoise(0, [0, 1])
    autoencoder.fit([video])
    network = seeded_network(config, autoencoder)
    generator = Generator(network, autoencoder, Diffusion(config), config.sample, CPU)
    kept = generator.encoded(batch.video)
    conditions = network.conditioner.with_known_frames(Conditions(), kept[:, list(places)], 4, noise, places)
    found = generator.latents(autoencoder.latent_grid((4, 16, 16)), conditions, noise)
    given = torch.zeros(4, dtype=torch.bool)
    given[list(places)] = True
    assert torch.equal(found[:, given], kept[:, given])
    assert not torch.equal(found[:, ~given], kept[:, ~given])


# Latte XL/2: 673.7 M measured on its own code; U-ViT H/2: 501 M, of its table 1; Video LDM: 860 M of the image model
# and 650 M temporal (its table of sizes); the image model of Stable Video Diffusion is Stable Diffusion 2.1's, 865.9
# M, its video model has 1,524.6 M (diffusers, UNetSpatioTemporalConditionModel).
PUBLISHED = {
    "latte": (674.0, 0.01),
    "latte-3": (674.0, 0.02),
    "latte-4": (674.0, 0.01),
    "uvit": (501.0, 0.01),
    "video-ldm": (1300.0, 0.35),
    "svd-image": (865.9, 0.01),
    "svd-finetune": (1524.6, 0.07),
}


@pytest.mark.parametrize("name", DIFFUSION)
def test_every_full_size_can_be_made_and_has_the_published_number_of_parameters(name: str):
    text = ["conditioning.text.encoder=hash", "conditioning.text.dim=1024"]
    with torch.device("meta"):
        network = Network(load(name, [] if load(name).conditioning.text.encoder == "none" else text), 4)
    millions, tolerance = PUBLISHED.get(name, (0.0, 0.0))
    if millions:
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=tolerance)


def test_latte_counts_the_published_operations():
    """3.786 TFLOP forward per clip of 16 frames of 256 x 256 px, measured on its own code."""
    with torch.device("meta"):
        network = Network(load("latte"), 4)
    assert network.flops((16, 32, 32), 0) / 1e12 == pytest.approx(3.786, rel=0.02)


@pytest.mark.parametrize("name", preset_names())
def test_a_config_survives_its_way_through_json(name: str):
    import json

    config = load(name)
    assert from_dict(json.loads(json.dumps(config.as_dict()))) == config


def test_small_sizes_inherit_and_overrides_win():
    assert load("demo-nano").data.frames == (4,)
    assert load("demo-nano").diffusion == load("demo").diffusion
    assert load("demo-nano", ["data.frames=[3]"]).data.frames == (3,)


def test_a_file_may_start_from_a_preset(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "demo"\nabout = "wider"\n[backbone.options]\nwidth = 256\n')
    config = load(str(path))
    assert config.backbone.options["width"] == 256
    assert config.backbone.options["depth"] == load("demo").backbone.options["depth"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["trains=something"], "trains is"),
        (["train.steps=0"], "at least 1"),
        (["data.sizes=['1']"], "HEIGHTxWIDTH"),
        (["x.y=1"], "unknown"),
    ],
)
def test_wrong_values_are_one_line(overrides: list[str], says: str):
    with pytest.raises(UserError, match=says):
        load("demo", overrides)


def test_attention_plans_by_name():
    assert plan_named("causal temporal") == AttentionPlan("temporal", causal=True)
    assert plan_named("window 2x4x0") == AttentionPlan("window", window=(2, 4, 0))
    with pytest.raises(UserError, match="no attention plan"):
        plan_named("sideways")


def test_conditions_map_over_what_is_there():
    assert Conditions().map(lambda tensor: tensor + 1) == Conditions()


def test_options_go_with_what_they_are_options_of_and_nothing_else_does():
    for order in ((0, 1), (1, 0)):
        texts = ("autoencoder.weights=ae", "autoencoder.kind=frame")
        chosen = load("latte-nano", [texts[k] for k in order]).autoencoder
        assert (chosen.kind, chosen.weights, dict(chosen.options)) == ("frame", "ae", {})
    vdm = load("vdm", ["diffusion.schedule=flow"]).diffusion
    assert (vdm.schedule, dict(vdm.schedule_options), vdm.parametrisation) == ("flow", {}, "eps")
    assert dict(load("svd-small", ["diffusion.levels=uniform"]).diffusion.level_options) == {}
    assert dict(load("vdm", ["diffusion.schedule=cosine"]).diffusion.schedule_options) == dict(
        load("vdm").diffusion.schedule_options
    )


def test_images_behind_a_clip_are_encoded_each_by_itself():
    """A causal autoencoder would squeeze them into latents of the clip that they have no part in."""
    tiny = {"width": 8, "multipliers": [1, 1], "depth": 1, "time_factor": 2, "space_factor": 2, "groups": 4}
    options, small = tiny | {"latent_channels": 4, "deterministic": True}, load("vdm-nano")
    data = replace(small.data, frames=(5,), images_per_clip=2, sizes=("8x8",))
    config = replace(small, autoencoder=AutoencoderConfig("causal", None, options), data=data)
    torch.manual_seed(0)
    autoencoder = autoencoder_named("causal", config.autoencoder.options).eval().requires_grad_(False)
    objective = DiffusionObjective(config, seeded_network(config, autoencoder), autoencoder, CPU)
    batch = batch_for(config)
    z, video = objective.latents(batch, SampleNoise(0, batch.indices)), as_floats(batch.video)
    assert z.shape[:2] == (2, 3 + 2)
    torch.testing.assert_close(z[:, :3], autoencoder.encode(video[:, :5]).mean, rtol=0, atol=1e-5)
    for place in (0, 1):
        alone = autoencoder.encode(video[:, 5 + place : 6 + place]).mean
        torch.testing.assert_close(z[:, 3 + place : 4 + place], alone, rtol=0, atol=1e-5)
    conditions, _ = objective.conditions(batch, z, SampleNoise(0, batch.indices))
    assert conditions.independent.tolist() == [[False] * 3 + [True] * 2] * 2
    assert bool(torch.isfinite(objective("model", batch, 0).each).all())

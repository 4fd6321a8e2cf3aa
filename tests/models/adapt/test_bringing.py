"""Weights of one network in another: the video model is the image model at first, and nothing is passed over."""

import pytest
import torch
from helpers.sides import predicted, side, trained
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.adapt.branches import is_branch
from clipmill.models.adapt.bringing import Brought, Side, bring
from clipmill.models.adapt.inputs import known_columns, vector_segments
from clipmill.models.config import load

TEXT = ("conditioning.text.encoder=hash", "conditioning.text.tokens=8", "conditioning.text.dim=16")
NO_TEXT = ("conditioning.text.encoder=none",)
IMAGE_UNET = (
    "backbone.options.plans=[['spatial'],[]]",
    "backbone.options.middle_plans=['spatial']",
    "backbone.options.mixer=zero",
    "backbone.options.temporal_convolutions=false",
)
FACTORISED = ("backbone.options.plans=[['spatial','temporal'],[]]", "backbone.options.temporal_convolutions=true")
UNETS = {
    mixer: (*FACTORISED, f"backbone.options.mixer={mixer}") for mixer in ("zero", "dirac", "alpha", "alpha_images")
}
DIT = ("backbone.options.plans=['spatial']", "backbone.options.depth=2")
VIDEO_DIT = ("backbone.options.depth=4", "backbone.options.time_positions_in=branch")


def names(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_parameters()}


def check_complete(report: Brought, old: Side, new: Side) -> None:
    assert set(report.came) | set(report.new) == names(new.network)
    assert not set(report.came) & set(report.new)
    assert set(report.came.values()) | set(report.missing) == names(old.network)
    assert not set(report.came.values()) & set(report.missing)


@pytest.mark.parametrize("mixer", UNETS)
def test_a_unet_begins_as_the_image_model_bit_by_bit(mixer: str):
    old = trained(side("video-ldm-nano", *IMAGE_UNET))
    new = side("video-ldm-nano", *UNETS[mixer], seed=5)
    report = bring(old, new, "old")
    check_complete(report, old, new)
    assert not report.missing
    assert set(report.new) == temporal_names(new.network)
    expected = predicted(old)
    assert expected.abs().max() > 0.1
    if mixer == "dirac":
        torch.testing.assert_close(predicted(new), expected, rtol=0, atol=1e-5)
    else:
        assert torch.equal(predicted(new), expected)
    trained(new)
    assert (predicted(new) - expected).abs().max() > 0.1, "and does not stay it"


@pytest.mark.parametrize("text", [(), (*TEXT, "backbone.options.text=cross")], ids=["plain", "text"])
def test_a_dit_begins_as_the_image_model_bit_by_bit(text: tuple[str, ...]):
    old, new = trained(side("latte-nano", *DIT, *text)), side("latte-nano", *VIDEO_DIT, *text, seed=5)
    report = bring(old, new, "old")
    check_complete(report, old, new)
    assert not report.missing
    assert {name.split(".")[2] for name in report.new} == {"1", "3"}
    assert report.came["backbone.blocks.2.attention.output.weight"] == "backbone.blocks.1.attention.output.weight"
    assert torch.equal(predicted(new), predicted(old))


def test_blocks_that_have_no_place_are_missing_and_blocks_of_other_plans_take_the_same_weights():
    old, new = trained(side("latte-nano", *VIDEO_DIT)), side("latte-nano", "backbone.options.depth=2")
    report = bring(old, new, "old")
    check_complete(report, old, new)
    assert {name.split(".")[2] for name in report.missing} == {"2", "3"}
    full = side("latte-nano", "backbone.options.plans=['previous','temporal']", *VIDEO_DIT)
    report = bring(old, full, "old")
    assert not report.new
    assert not report.missing


@pytest.mark.parametrize("plan", ["full", "window 3x0x0", "previous", "first"])
def test_attention_to_several_frames_begins_as_the_image_model_of_a_still_clip(plan: str):
    """Keys that stand there several times weigh the same (Tune-A-Video)."""
    old = trained(side("latte-nano", *DIT))
    plans = (f"backbone.options.plans=['{plan}']", "backbone.options.time_positions=none", "backbone.options.depth=2")
    new = side("latte-nano", *plans, seed=5)
    report = bring(old, new, "old")
    assert not report.new
    assert not report.missing
    expected = predicted(old, still=True)
    scale = float(expected.abs().max())
    torch.testing.assert_close(predicted(new, still=True), expected, rtol=0, atol=1e-5 * scale)
    assert (predicted(new) - predicted(old)).abs().max() > 1e-3 * scale


@pytest.mark.parametrize(
    ("image", "video"),
    [
        (("gentron-image-nano",), ("gentron-nano",)),
        (("latte-nano", *DIT), ("latte-3-nano", "backbone.options.time_positions_in=branch")),
    ],
)
def test_attention_along_time_within_blocks_is_new_and_says_nothing_at_first(image: tuple, video: tuple):
    old, new = trained(side(*image)), side(*video, seed=5)
    report = bring(old, new, "old")
    check_complete(report, old, new)
    assert not report.missing
    assert not report.partly
    assert set(report.new) == temporal_names(new.network)
    assert torch.equal(predicted(new), predicted(old))
    trained(new)
    assert (predicted(new) - predicted(old)).abs().max() > 1e-2


def test_the_estimate_that_a_network_reads_of_its_own_is_zeros_at_first():
    old = trained(side("walt-nano", "diffusion.self_conditioning=0.0"))
    new = side("walt-nano", seed=5)
    report = bring(old, new, "old")
    assert report.partly == ["backbone.patches_in.weight"]
    assert not report.new
    torch.testing.assert_close(predicted(new), predicted(old), rtol=0, atol=1e-6)


def test_the_same_system_is_itself_whatever_its_conditions():
    labels = ("conditioning.classes.column=label", "conditioning.classes.names=['cat','dog']")
    for preset, more in (("svd-small-nano", ()), ("vdm-nano", ()), ("latte-nano", labels), ("dit-nano", ())):
        old, new = trained(side(preset, *more)), side(preset, *more, seed=5)
        report = bring(old, new, "old")
        assert not report.new
        assert not report.missing
        assert not report.partly
        assert all(torch.equal(t, new.network.state_dict()[name]) for name, t in old.network.state_dict().items())


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((), ("conditioning.micro.columns=['motion']",)),
        ((), ("conditioning.frames.given=first",)),
        ((), ("conditioning.frames.given=masks", "conditioning.frames.perturbation=uniform")),
        (("conditioning.micro.columns=['fps','motion']",), ("conditioning.micro.columns=['dup','motion','fps']",)),
        (("conditioning.frames.given=first",), ("conditioning.frames.given=low",)),
    ],
)
@pytest.mark.parametrize(("preset", "more"), [("latte-nano", VIDEO_DIT), ("video-ldm-nano", NO_TEXT)])
def test_a_new_condition_says_nothing_at_first(
    preset: str, more: tuple[str, ...], before: tuple[str, ...], now: tuple[str, ...]
):
    old, new = trained(side(preset, *more, *before)), side(preset, *more, *now, seed=5)
    report = bring(old, new, "old")
    check_complete(report, old, new)
    assert not report.missing
    assert report.partly or report.new
    known = {"fps": 7.0, "motion": 2.0} if "fps" in "".join(before) else {}
    told = known or ({"motion": 2.0} if "motion" in "".join(now) else {})
    torch.testing.assert_close(predicted(new, **told), predicted(old, **known), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "before", "now"),
    [
        ("latte-nano", VIDEO_DIT, (*VIDEO_DIT, *TEXT, "backbone.options.text=cross")),
        ("video-ldm-nano", NO_TEXT, TEXT),
    ],
)
def test_new_text_says_nothing_at_first(preset: str, before: tuple[str, ...], now: tuple[str, ...]):
    old, new = trained(side(preset, *before)), side(preset, *now, seed=5)
    report = bring(old, new, "old")
    check_complete(report, old, new)
    assert not report.missing
    assert torch.equal(predicted(new), predicted(old))
    trained(new)
    assert not torch.equal(predicted(new, ("a", "b")), predicted(new, ("c", "d")))


def test_a_new_reference_picture_is_not_read_as_something_else():
    numbers = ("conditioning.micro.columns=['motion']", "conditioning.micro.dim=8")
    pictures = [("conditioning.reference.encoder=clip", f"conditioning.reference.network={name}") for name in "ab"]
    without, one, other = (load("latte-nano", (*numbers, *more)) for more in ((), *pictures))
    old = vector_segments(without, 8), torch.randn(4, 8)
    made, whole = known_columns((vector_segments(one, 24), torch.zeros(4, 24)), old, 1)
    assert not whole
    assert torch.equal(made[:, :8], old[1])
    assert not made[:, 8:].any()
    before = vector_segments(one, 24), torch.randn(4, 24)
    made, whole = known_columns((vector_segments(other, 24), torch.zeros(4, 24)), before, 1)
    assert not whole, "the embedding of another network"
    assert not made[:, 8:].any()


def test_classes_keep_their_names():
    column = "conditioning.classes.column=label"
    old = trained(side("latte-nano", column, "conditioning.classes.names=['cat','dog']"))
    new = side("latte-nano", column, "conditioning.classes.names=['bird','cat']", seed=5)
    kept = new.network.get_parameter("conditioner.classes.weight").detach().clone()
    report = bring(old, new, "old")
    rows, before = (s.network.get_parameter("conditioner.classes.weight") for s in (new, old))
    assert torch.equal(rows[[0, 2]], before[[0, 1]])
    assert torch.equal(rows[1], kept[1]), "a new class is as it was initialised"
    assert report.partly == ["conditioner.classes.weight"]


@pytest.mark.parametrize(("preset", "more"), [("latte-nano", VIDEO_DIT), ("video-ldm-nano", ())])
def test_places_in_time_come_as_far_as_they_were_learned(preset: str, more: tuple[str, ...]):
    learned = (*more, "backbone.options.time_positions=unit")
    old = trained(side(preset, *learned, "backbone.options.max_frames=4"))
    new = side(preset, *learned, "backbone.options.max_frames=6", seed=5)
    report = bring(old, new, "old")
    check_complete(report, old, new)
    assert report.partly
    assert all(name.endswith("positions.table") for name in report.partly)
    assert torch.equal(predicted(new), predicted(old))
    assert not bring(new, old, "new").partly


def test_words_of_another_encoder_are_not_what_the_old_weights_read():
    text = (*TEXT, "backbone.options.text=cross")
    old = trained(side("latte-nano", *text))
    new = side("latte-nano", *text, "conditioning.text.encoder=characters", seed=5)
    report = bring(old, new, "old")
    check_complete(report, old, new)
    assert {name for name in report.new if ".cross" in name} == set(report.new) != set()


@pytest.mark.parametrize(
    ("preset", "settings", "says"),
    [
        ("vdm-nano", (), "backbone 'unet', this model 'dit'"),
        ("latte-nano", ("backbone.options.width=64",), "another width than this model, 64 and 32"),
        ("latte-nano", ("backbone.options.head_dim=8",), "set backbone.options.head_dim=8"),
        ("latte-nano", ("backbone.options.patch=[1,1,1]",), r"set backbone.options.patch=\[1, 1, 1\]"),
        ("latte-nano", ("backbone.options.space_positions=rotary",), "space_positions=rotary"),
    ],
)
def test_weights_that_mean_something_else_are_one_line(preset: str, settings: tuple[str, ...], says: str):
    with pytest.raises(UserError, match=says) as error:
        bring(side(preset, *settings), side("latte-nano"), "OLD")
    assert "OLD" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("learn", ["lora:2", "query+temporal"])
def test_branches_begin_at_what_came(learn: str):
    old = trained(side("latte-nano", *DIT))
    new = side("latte-nano", *VIDEO_DIT, "train.init=old", f"train.learn={learn}", seed=5)
    assert torch.equal(bring(old, new, "old") and predicted(new), predicted(old))
    assert any(map(is_branch, names(new.network)))

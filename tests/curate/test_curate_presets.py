"""Presets: every published recipe loads, filters by exactly what it says, and names weights that exist."""

import re
from importlib import resources

import pytest

from clipmill.curate import annotators, weights
from clipmill.curate.common.settings import preset_names
from clipmill.curate.config import load
from clipmill.curate.driver.policy_of_run import policy_of
from clipmill.curate.driver.preflight import preflight, pull_names
from clipmill.curate.errors import UserError

# What each recipe limits, and nothing else: a filter of the default preset that leaks in is a mistake.
LIMITS = {
    "svd": {
        "duration_s": {"min": 1.0},
        "motion": {"drop_lowest": 0.25},
        "aesthetics": {"drop_lowest": 0.25},
        "clip_similarity": {"drop_lowest": 0.5},
        "text_area": {"max": 0.07},
    },
    "open-sora-1.2": {"duration_s": {"min": 2.0}, "aesthetics": {"min": 4.5}},
    "open-sora-plan-1.3": {"duration_s": {"min": 1.0}, "aesthetics": {"min": 4.75}, "motion": {"min": 0.01}},
    "data-juicer-msrvtt": {
        "duration_s": {"min": 1.0},
        "motion": {"min": 0.0021},
        "aesthetics": {"min": 3.177},
        "clip_similarity": {"min": 0.1657},
    },
    "easyanimate": {
        "duration_s": {"min": 3.0},
        "clip_first_similarity": {"min": 0.8},
        "text_area_middle": {"max": 0.02},
        "motion": {"min": 0.0056, "max": 0.056},
    },
    "cosmos": {
        "duration_s": {"min": 2.0},
        "aesthetics": {"min": 3.5},
        "sharpness": {"drop_lowest": 0.15},
        "dup_rank": {"max": 0.0},
    },
    "panda-70m": {"duration_s": {"min": 2.0}, "clip_first_similarity": {"min": 0.5}, "motion": {"min": 0.01}},
}


def text_of(preset):
    return resources.files("clipmill.curate.presets").joinpath(f"{preset}.toml").read_text(encoding="utf-8")


def test_all_recipes_are_here():
    assert set(preset_names()) == {"default", *LIMITS}


@pytest.mark.parametrize("preset", LIMITS)
def test_a_recipe_filters_by_what_it_says(preset):
    policy = policy_of(load(preset))
    keys = ("min", "max", "drop_lowest", "drop_highest")
    found = {f.column: {key: getattr(f, key) for key in keys if getattr(f, key) is not None} for f in policy.filters}
    assert found == LIMITS[preset]


@pytest.mark.parametrize("preset", preset_names())
def test_a_recipe_is_explained(preset):
    first, *others = text_of(preset).splitlines()
    assert re.fullmatch(r"# .{40,}\.", first)
    if preset != "default":
        assert others[0].startswith("# Source: ")
        assert len(re.findall(r"Other than|Left out", text_of(preset))) >= 1


@pytest.mark.parametrize("preset", preset_names())
def test_weights_of_a_recipe_are_in_the_table_for_who_uses_them(preset):
    config = load(preset)
    for name in config.annotators:
        for needed in config.annotators[name].weights:
            assert name in weights.weights_named(needed).used_by
    assert set(pull_names(preset)) == {w for annotator in config.annotators.values() for w in annotator.weights}


def test_the_table_names_users_that_exist():
    users = {user for entry in weights.known() for user in entry.used_by}
    assert users <= {*annotators.names(), "evaluate", "models"}


def test_limits_in_pixels_become_short_sides_per_second():
    """Pixels between two frames of the recipe's rate, over the short side that the preset measures at."""
    for preset, px, key in (("data-juicer-msrvtt", 0.25, "min"), ("easyanimate", 2, "min"), ("easyanimate", 20, "max")):
        motion = load(preset).annotators["motion"]
        assert motion.method == "farneback"
        assert LIMITS[preset]["motion"][key] == pytest.approx(px * motion.fps / motion.short_side_px, rel=0.01)


@pytest.mark.parametrize("preset", LIMITS)
def test_spans_too_short_for_the_recipe_are_not_scored(preset):
    config = load(preset)
    assert LIMITS[preset]["duration_s"]["min"] == config.scenes.min_length_s
    assert config.scenes.min_length_s < config.scenes.max_length_s


@pytest.mark.parametrize("preset", LIMITS)
def test_without_a_network_the_answer_is_one_line(preset, tmp_path, monkeypatch):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("CLIPMILL_OFFLINE", "1")
    config = load(preset)
    missing = [name for name in pull_names(preset) if weights.find(name, {}) is None]
    if not missing:
        pytest.skip(f"all weights of {preset} are in the caches of this machine")
    with pytest.raises(UserError) as caught:
        preflight(config)
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in missing)

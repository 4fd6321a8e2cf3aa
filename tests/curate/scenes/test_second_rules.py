"""What the curves tell without a network: jump cuts and wipes, and that steps of light are no cuts."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from clipmill.curate import scenes
from clipmill.curate.config import load, load_tree
from clipmill.curate.demo.changes import SLIDES_FPS, film
from clipmill.curate.driver.made_before import kept_cuts
from clipmill.curate.scenes.curves import CurveBuilder
from clipmill.curate.settings.scenes import FIRST_HESITATION, SINCE_SECOND, ScenesConfig
from clipmill.curate.tables.run_dir import RunDir

CONFIG = ScenesConfig()
BOUNDARIES = (
    "jump",
    "reframed",
    "punch_in",
    "black",
    "slides_2",
    "near_start",
    "wipe",
    "dissolve",
)
DISTURBANCES = ("exposure", "white_balance", "overlay", "flash", "whip_pan")


def measured(frames):
    """Curves of uint8 [H, W, 3] pictures."""
    builder = CurveBuilder(CONFIG)
    for picture in frames:
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        small = [
            cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p, size in ((gray, (96, 54)), (picture, (48, 27)))
        ]
        builder.push(*small)
    return builder.finish()


def found(kind, config=CONFIG, plain=False):
    """(cuts found without a network, the events of the film)."""
    frames, events, fps = film(kind, plain, False, 7)
    cuts, _ = scenes.detect(measured(frames), np.arange(len(frames)) / fps, config)
    return cuts, events


@pytest.mark.parametrize("kind", BOUNDARIES)
def test_boundaries_are_found_where_they_are(kind):
    cuts, events = found(kind)
    reach = 0 if kind in SLIDES_FPS else 2
    assert len(cuts) == len(events)
    for cut, event in zip(cuts, events, strict=True):
        assert event.start - reach <= cut.frame <= max(event.start, event.end - 1) + reach


@pytest.mark.parametrize("kind", ["fade_in", "fade_out"])
def test_fades_at_the_ends_are_boundaries_to_the_cascade(kind):
    """With the network it is the network that confirms them: what fades is one picture, which becomes no other."""
    cuts, events = found(kind, dataclasses.replace(CONFIG, detector="cascade"))
    assert len(cuts) == len(events) == 1
    assert events[0].start - 2 <= cuts[0].frame <= events[0].end + 1


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_disturbances_are_no_boundaries(kind):
    assert found(kind)[0] == []


def test_the_first_rules_took_steps_of_light_for_cuts_and_missed_jump_cuts():
    first = dataclasses.replace(CONFIG, rules="first", network_hesitation=FIRST_HESITATION)
    assert len(found("exposure", first)[0]) == 3
    assert len(found("wipe", first)[0]) == 0


def test_no_tone_curve_turns_a_slope():
    picture = film("hard", False, False, 3)[0][0]
    other = film("hard", False, False, 4)[0][0]
    brighter = np.clip(255 * (picture / 255.0) ** 0.6 * 1.1, 0, 255).astype(np.uint8)
    step = measured([picture] * 10 + [brighter] * 10)["turned"][10]
    cut = measured([picture] * 10 + [other] * 10)["turned"][10]
    assert step < 0.05
    assert cut > 0.6


def test_the_first_rules_are_identified_as_before_there_was_a_choice():
    saved = dataclasses.asdict(CONFIG)
    first = dataclasses.replace(CONFIG, rules="first")
    assert first.identity() == {name: value for name, value in saved.items() if name not in SINCE_SECOND}
    assert CONFIG.identity() == dataclasses.replace(CONFIG, rules="second").identity()
    assert set(CONFIG.identity()) == set(saved)
    assert dataclasses.replace(first, turned=0.5).identity() == first.identity()


@pytest.fixture
def before(tmp_path):
    """A folder with the run.json of a run from before there was a choice of rules."""
    tree = load("default").as_dict()
    tree["scenes"] = dataclasses.replace(ScenesConfig(), rules="first", network_hesitation=FIRST_HESITATION).identity()
    facts = {"config": tree, "command": "", "inputs": [], "seconds": 0.0, "versions": {}, "policy": "default"}
    facts |= {"counts": {}, "failed_scores": {}, "columns": {}, "column_docs": {}}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    return RunDir(tmp_path)


def test_a_run_from_before_keeps_its_cuts_and_says_so(before):
    asked = load("default")
    kept, line = kept_cuts(before, asked)
    assert kept.scenes.first_rules
    assert kept.scenes.network_hesitation == FIRST_HESITATION
    assert "cuts stay" in line
    saved = load_tree(json.loads(before.run_json.read_text())["config"])
    assert kept.fingerprints.base == saved.fingerprints.base != asked.fingerprints.base
    for sets in (["scenes.rules=second"], ["scenes.max_length_s=7"]):
        config, line = kept_cuts(before, load("default", sets))
        assert not config.scenes.first_rules
        assert "decoded" in line
    assert kept_cuts(RunDir(before.root / "none"), asked) == (asked, "")


def test_unknown_rules_are_a_user_error():
    from clipmill.curate.errors import UserError

    with pytest.raises(UserError, match="rules"):
        scenes.detect({}, np.zeros(0), dataclasses.replace(CONFIG, rules="third"))

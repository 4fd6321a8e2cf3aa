"""The caption of measured attributes says what was measured, in words that stand for numbers, and nothing else."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.annotator_clips import clip

from clipmill.curate.annotators.caption_attributes import CaptionAttributes
from clipmill.curate.captions.attributes import sentence
from clipmill.curate.captions.colours import NAMES, colour_shares
from clipmill.curate.captions.screen_text import Reader, decoded, upright_line
from clipmill.curate.contract.annotator import ROLES


@pytest.fixture(scope="module")
def write():
    """What writes the captions of clips, by the defaults."""
    made = CaptionAttributes()
    made.check()
    return made.load("cpu", {})


def flat(*rgb):
    return np.full((64, 96, 3), rgb, np.uint8)


def lettering(text, px=2.0, angle_deg=0.0, size=(640, 360)):
    """White letters on grey, turned clockwise."""
    picture = np.full((size[1], size[0], 3), 70, np.uint8)
    cv2.putText(picture, text, (60, 180), cv2.FONT_HERSHEY_SIMPLEX, px, (255, 255, 255), 4, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), -angle_deg, 1.0)
    return cv2.warpAffine(picture, turn, size, borderMode=cv2.BORDER_REPLICATE)


def described(write, picture, **columns):
    """(caption, flags) of a clip of three times this picture."""
    frames = replace(clip([picture] * 3, [0, 1, 2], roles=ROLES), end_s=3.2, columns=columns)
    row = write([frames])[0]
    return row["caption_attributes"], row["caption_attributes_flags"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "A shot of 4 seconds."),
        (
            {"motion": 0.0, "camera_direction": "static"},
            "A shot of 4 seconds with a static camera and no visible motion.",
        ),
        (
            {"motion": 0.03, "camera_direction": "zoom_in"},
            "A shot of 4 seconds with the view zooming in and little motion.",
        ),
        (
            {"motion": 0.1, "camera_direction": "left"},
            "A shot of 4 seconds with the camera moving left and moderate motion.",
        ),
        (
            {"motion": 0.5, "camera_direction": "complex"},
            "A shot of 4 seconds with much motion in more than one direction.",
        ),
        ({"motion": None, "camera_direction": None}, "A shot of 4 seconds."),
        ({"motion": 0.1, "camera_direction": None}, "A shot of 4 seconds with moderate motion."),
        ({"exposure": 0.1}, "A dark shot of 4 seconds."),
        ({"exposure": 0.5}, "A shot of 4 seconds."),
        ({"exposure": 0.9, "near_black": 0.0}, "A bright shot of 4 seconds."),
        ({"exposure": 0.02, "near_black": 0.9}, "A black shot of 4 seconds."),
    ],
)
def test_each_word_stands_for_a_number_and_what_was_not_measured_is_not_said(columns, words):
    assert sentence({"duration_s": 4.2} | columns, None, [], []) == words


def test_contrast_colours_and_reading_are_told():
    found = sentence(
        {"duration_s": 0.6, "exposure": 0.9}, 10.0, ["light blue", "white"], ['SALE "50"', "x" * 90, "NOW"]
    )
    assert (
        found == "A bright, low-contrast shot of one second. The colours are mostly light blue and white. "
        "Text on the screen reads \"SALE '50' / NOW\"."
    )


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"), ((255, 255, 255), "white"), ((128, 128, 128), "grey"), ((70, 72, 70), "dark grey"),
        ((220, 20, 20), "red"), ((100, 10, 10), "dark red"), ((240, 130, 20), "orange"), ((110, 65, 20), "dark brown"),
        ((30, 180, 40), "green"), ((10, 80, 20), "dark green"), ((20, 170, 165), "teal"), ((30, 60, 210), "blue"),
        ((150, 190, 250), "light blue"), ((140, 40, 200), "purple"), ((250, 150, 200), "light pink"),
        ((230, 40, 150), "pink"),
        ((200, 200, 198), "light grey"), ((230, 220, 30), "yellow"), ((20, 25, 100), "dark blue"),
    ],
)  # fmt: skip
def test_colours_have_the_names_people_give_them(rgb, name):
    assert colour_shares([flat(*rgb)]) == {name: 1.0}


def test_shares_of_colours_add_up_over_pictures():
    half = flat(30, 60, 210)
    half[:32] = (30, 180, 40)
    shares = colour_shares([half, flat(30, 60, 210)])
    assert list(shares) == ["blue", "green"]
    assert shares["blue"] == pytest.approx(0.75, abs=0.01)
    every = np.stack(np.meshgrid(*[np.linspace(0, 255, 20)] * 3), -1).reshape(1, -1, 3).astype(np.uint8)
    assert sum(colour_shares([every]).values()) == pytest.approx(1)
    assert set(colour_shares([every])) <= set(NAMES)


def test_text_is_read_where_there_is_text_and_only_there(write):
    picture = lettering("HARBOUR 42")
    assert described(write, picture, text_area_middle=0.1) == (
        'A shot of 3 seconds. The colours are mostly dark grey. Text on the screen reads "HARBOUR 42".', []
    )  # fmt: skip
    assert "HARBOUR" not in described(write, picture, text_area_middle=0.0)[0]
    assert "HARBOUR" not in described(write, picture)[0]


def test_text_that_cannot_be_read_is_flagged_not_guessed(write):
    noise = np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8)
    text, flags = described(write, cv2.blur(noise, (9, 9)), text_area_middle=0.1)
    assert "Text" not in text
    assert flags == ["unread"]


def test_lines_are_read_from_top_to_bottom_at_any_slant():
    reader = Reader("cpu")
    for angle_deg in (0.0, -12.0, 12.0):
        (line,) = reader(lettering("Summer garden", 1.6, angle_deg))
        assert line.text == "Summer garden", angle_deg
        assert line.confidence > 0.9
    two = lettering("SECOND", 1.5)
    cv2.putText(two, "FIRST", (200, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 4, cv2.LINE_AA)
    assert [line.text for line in reader(two)] == ["FIRST", "SECOND"]


def test_repeats_and_blanks_are_dropped_between_letters():
    letters = ["", "a", "b", " "]
    steps = [0, 1, 1, 0, 1, 2, 2, 3, 0, 2]
    chances = np.full((len(steps), 4), 0.1, np.float32)
    chances[np.arange(len(steps)), steps] = 0.7
    assert decoded(chances, letters) == ("aab b", pytest.approx(0.7))
    assert decoded(chances[:1], letters) == ("", 0.0)


def test_a_line_is_cut_out_upright():
    picture = np.zeros((100, 200, 3), np.uint8)
    box = cv2.boxPoints(((100, 50), (80, 20), 30.0))
    cv2.fillPoly(picture, [box.astype(np.int32)], (255, 255, 255))
    line = upright_line(picture, box)
    assert line.shape[:2] == (20, 80)
    assert line[3:-3, 3:-3].min() == 255


def test_the_same_clip_gives_the_same_caption(write):
    picture = lettering("MARKET")
    columns = {"text_area_middle": 0.1, "motion": 0.1, "camera_direction": "up"}
    other = CaptionAttributes().load("cpu", {})
    assert described(write, picture, **columns) == described(other, picture, **columns)

"""What language models write around, instead of, or again and again in a caption is taken away, and nothing else is."""

import random

import pytest

from clipmill.curate.captions.cleaning import FLAGS, clean

GOOD = [
    "A man in a red coat walks along the beach while the camera follows him.",
    "Two dogs run. One of them carries a stick.",
    "The video game character jumps over a wall.",
    "A sign reads \"I'm sorry, I can't help you\" above a closed door.",
    "A man talks to Mr. Smith",
    "A woman with 3.5 m of rope climbs by",
    "A café on a street in São Paulo, seen through rain.",
    "Здравствуйте, это кот на диване.",
    "一只猫在沙发上睡觉。",
    "In the video game, a knight rides a horse.",
    "The 1000000 lights of the city go out one by one.",
    'A poster says "sorry-looking houses" in tall letters.',
]


@pytest.mark.parametrize("text", GOOD)
def test_a_good_caption_stays_as_it_is(text):
    assert clean(text) == (text, [])
    assert clean(text, finished=True) == (text, [])


@pytest.mark.parametrize(
    ("text", "wanted", "flags"),
    [
        ("The video shows a man walking home.", "A man walking home.", ["boilerplate"]),
        ("In this image, we can see a dog in a park.", "A dog in a park.", ["boilerplate"]),
        (
            'Sure! Here is a caption for the clip: "A bird flies over the sea."',
            "A bird flies over the sea.",
            ["boilerplate"],
        ),
        ("Caption: a photo of a cat on a mat", "A cat on a mat", ["boilerplate"]),
        ("Das Video zeigt einen Hund im Garten.", "Einen Hund im Garten.", ["boilerplate"]),
        ("这段视频展示了一只猫在沙发上睡觉。", "一只猫在沙发上睡觉。", ["boilerplate"]),
        ('```json\n{"caption": "A cat sleeps on a sofa."}\n```', "A cat sleeps on a sofa.", ["markup"]),
        ('{"n": 3, "description": "A cat sleeps on a sofa."}', "A cat sleeps on a sofa.", ["markup"]),
        ('{"caption": "A cat sleeps on a sofa. It pur', "A cat sleeps on a sofa.", ["markup", "unfinished"]),
        ("- A man walks by\n- A dog runs after him", "A man walks by. A dog runs after him.", ["markup"]),
        ("1. A man walks by.\n2. A dog runs after him.", "A man walks by. A dog runs after him.", ["markup"]),
        ("## Scene\n**A** *red* car drives by.", "Scene. A red car drives by.", ["markup"]),
        ("<think>The user wants a caption.</think>A boat sails by.", "A boat sails by.", ["markup"]),
        ("A boat sails by.<|im_end|>", "A boat sails by.", ["markup"]),
        ("“A boat sails by.”", "A boat sails by.", ["markup"]),
        ("A boat\x00 sails\x07 by.\u200e", "A boat sails by.", ["control"]),
        ("A cafÃ© by the sea, â€œopenâ€\u009d", "A café by the sea, “open”", ["mojibake"]),
        ("Ein StraÃŸencafÃ© 在海边", "Ein Straßencafé 在海边", ["mojibake", "scripts"]),
        ("A caf\ufffd by the sea", "A caf by the sea", ["mojibake"]),
        ("a man and a man and a man and a man and a man", "A man", ["repeat", "unfinished", "short"]),
        ("A dog runs in a park. A dog runs in a park. A dog runs in a park.", "A dog runs in a park.", ["repeat"]),
        ("A dog runs in a park. A cat. A dog runs in a park.", "A dog runs in a park. A cat.", ["repeat"]),
        ("猫在沙发上睡觉。猫在沙发上睡觉。", "猫在沙发上睡觉。", ["repeat"]),
        ("A man walks. He carries a", "A man walks.", ["unfinished"]),
        ("a man riding a wave on top of a", "A man riding a wave on top", ["unfinished"]),
        ("cat", "Cat", ["short"]),
        ("The cat sleeps 在沙发上睡觉很久很久", "The cat sleeps 在沙发上睡觉很久很久", ["scripts"]),
    ],
)
def test_what_is_no_part_of_the_caption_goes_with_its_flag(text, wanted, flags):
    assert clean(text) == (wanted, flags)


def test_phrases_that_come_for_the_third_time_end_the_text():
    text = "There is a red car on the left, there is a red car on the right, there is a red car on the top."
    assert clean(text) == ("There is a red car on the left, there is a red car on the right", ["repeat", "unfinished"])


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't help with that.",
        "I’m sorry, but I cannot describe people.",
        "Sorry, I am unable to view videos.",
        "As an AI language model, I have no eyes.",
        "Hello. I cannot view images, but a caption might be: a dog.",
        "I apologize, there is no picture.",
        "Unfortunately, I can't see anything.",
        "Please provide the video.",
        "Es tut mir leid, das kann ich nicht.",
        "Je suis désolé, je ne peux pas.",
        "很抱歉，我无法描述这段视频。",
        "**I'm sorry**, I can't assist with this request.",
    ],
)
def test_refusals_leave_no_text(text):
    found, flags = clean(text)
    assert found is None
    assert "refusal" in flags


@pytest.mark.parametrize(
    "text", ["", "  \n", "...", "```\n```", "{}", "[]", "<think>hm", "</s>", "-", "123", "\ufffd\ufffd"]
)
def test_nothing_said_is_no_caption(text):
    found, flags = clean(text)
    assert found is None
    assert "empty" in flags


def test_whether_the_model_was_cut_off_decides_about_the_last_sentence():
    text = "A man walks. He waves"
    assert clean(text, finished=True) == (text, [])
    assert clean(text, finished=False) == ("A man walks.", ["unfinished"])
    assert clean("A man walks.", finished=False) == ("A man walks.", ["unfinished"])
    assert clean("a man walks", finished=False) == ("A man walks", ["unfinished"])


def test_long_texts_end_with_a_sentence():
    text = " ".join(f"A{i} meets b{i} near c{i} village." for i in range(200))
    found, flags = clean(text, max_characters=300)
    assert flags == ["long"]
    assert len(found) <= 300
    assert found.endswith("village.")
    assert text.startswith(found)


def test_any_text_comes_out_once_cleaned_stable_and_with_known_flags():
    """Cleaning what was cleaned changes nothing, whatever went in."""
    pieces = [
        "The video shows ",
        "a cat",
        " sleeps",
        ". ",
        "\n- ",
        "**",
        '"',
        "{",
        "}",
        "猫。",
        "<think>",
        "I'm sorry",
        "!",
        "\x00",
        "Ã©",
        " and",
        ",",
        "``` ",
    ]
    rng = random.Random(0)
    for _ in range(1500):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(1, 14)))
        found, flags = clean(text, finished=True)
        assert set(flags) <= set(FLAGS), text
        assert (found is None) == bool({"refusal", "empty"} & set(flags)), text
        if found is not None:
            assert "\n" not in found, text
            assert any(c.isalpha() for c in found), text


def test_loops_of_any_length_are_found():
    """A pattern that tries every way to split these texts would not end."""
    for unit in ("ab ", "the cat ", "a long unit of many words that comes again, ", "猫猫狗"):
        found, flags = clean(unit * 2000)
        assert "repeat" in flags
        assert len(found) <= 2 * len(unit)
    words = random.Random(0).choices(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"], k=2000)
    assert clean(" ".join(words))[0]

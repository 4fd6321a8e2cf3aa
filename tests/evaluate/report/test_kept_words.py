"""What latents keep, in words."""

from clipmill.evaluate.report.kept_words import kept_words


def test_shares_of_both_sets_are_told_and_a_negative_one_is_nothing():
    shares = {"held_out_change": -0.3, "held_out_energy": 0.373, "training_change": 1.0, "training_energy": 0.999}
    assert kept_words(shares) == (
        "100 % of the energy and 100 % of the change over time of training windows;"
        " 37 % of the energy and nothing of the change over time of held-out windows"
    )


def test_what_is_not_there_or_no_number_is_left_out():
    assert kept_words({}) == ""
    assert kept_words({"training_energy": 0.5, "training_change": "x"}) == "50 % of the energy of training windows"

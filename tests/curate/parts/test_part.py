"""Which part a source is in: one part each, the same one for ever; and what Slurm says of an array."""

import pytest

from clipmill.curate.errors import UserError
from clipmill.curate.parts.part import Part, part_of


def test_every_source_is_in_one_part_and_stays_there():
    addresses = [f"folder {i % 7}/video {i}.mp4" for i in range(500)]
    for of in (1, 2, 7):
        homes = [[index for index in range(of) if Part(index, of).holds(address)] for address in addresses]
        assert all(len(home) == 1 for home in homes)
        assert len({home[0] for home in homes}) == of
    # Parts of a run that is half done must be those of the next version, too.
    assert [index for index in range(8) if Part(index, 8).holds("a/b.mp4")] == [3]


def test_words_and_slurms_variables_name_a_part():
    assert part_of("3/8") == Part(3, 8)
    array = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "8"}
    assert part_of("slurm", array) == Part(4, 8)


@pytest.mark.parametrize(
    ("text", "environment", "says"),
    [
        ("8/8", {}, "counted from 0, here 0/8 to 7/8"),
        ("0/0", {}, "counted from 0"),
        ("-1/8", {}, "--part takes i/n"),
        ("half", {}, "--part takes i/n"),
        ("slurm", {}, "SLURM_ARRAY_TASK_ID is not set"),
        (
            "slurm",
            {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_COUNT": "2"},
            "task 9 of 2 from 2",
        ),
    ],
)
def test_mistakes_are_one_line(text: str, environment: dict[str, str], says: str):
    with pytest.raises(UserError, match=says):
        part_of(text, environment)

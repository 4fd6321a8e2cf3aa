"""Conditions of older presets and checkpoints become SQL that takes the same rows; what is no plain condition is
refused and never run.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipmill.curate.common.old_conditions import to_sql
from clipmill.curate.common.sql import taken
from clipmill.curate.errors import UserError

TABLE = pd.DataFrame(
    {
        "motion": np.array([0.1, 0.5, np.nan, 0.02, np.nan], np.float32),
        "width": [512, 100, 600, 700, 512],
        "source": ["ego", "it's", None, "drone", "ego"],
        "split": ["train", "val", "train", "train", "test"],
        "static": [True, False, True, False, False],
        "offset": [0.0, 1.0, np.nan, 3.0, 4.0],
    }
)

CONDITIONS = [
    # as it was written, what it was for DataFrame.query, the SQL
    ("split = 'train'", "split == 'train'", "split = 'train'"),
    ("split == 'train'", "split == 'train'", "split = 'train'"),
    ('split = "train"', "split == 'train'", "split = 'train'"),
    (
        "split = 'train' and motion > 0.05",
        "split == 'train' and motion > 0.05",
        "split = 'train' AND motion > 0.05",
    ),
    ("motion > 0.05 AND width >= 512", "motion > 0.05 and width >= 512", "motion > 0.05 AND width >= 512"),
    (
        "(motion > 0.05 or static) and width < 600",
        "(motion > 0.05 or static) and width < 600",
        "(motion > 0.05 OR static) AND width < 600",
    ),
    (
        "motion > 0.05 & (static == True | width > 600)",
        "motion > 0.05 & (static == True | width > 600)",
        "motion > 0.05 AND (static = TRUE OR width > 600)",
    ),
    ("not motion > 0.05", "not motion > 0.05", "(motion > 0.05) IS NOT TRUE"),
    ("~static", "~static", "(static) IS NOT TRUE"),
    ("not (static or motion > 0.05)", "not (static or motion > 0.05)", "(static OR motion > 0.05) IS NOT TRUE"),
    ("source != 'ego'", "source != 'ego'", "(source = 'ego') IS NOT TRUE"),
    ("source <> 'it''s'", 'source != "it\'s"', "(source = 'it''s') IS NOT TRUE"),
    ("motion != 0.5", "motion != 0.5", "(motion = 0.5) IS NOT TRUE"),
    ("split in ['train', 'test']", "split in ['train', 'test']", "split IN ('train', 'test')"),
    ("split IN ('train', 'test')", "split in ('train', 'test')", "split IN ('train', 'test')"),
    ("source not in ['ego']", "source not in ['ego']", "(source IN ('ego')) IS NOT TRUE"),
    ("split == ['train', 'val']", "split == ['train', 'val']", "split IN ('train', 'val')"),
    ("split.isin(['train'])", "split.isin(['train'])", "split IN ('train')"),
    ("motion.notna() and width > 100", "motion.notna() and width > 100", "motion IS NOT NULL AND width > 100"),
    ("motion.isna()", "motion.isna()", "motion IS NULL"),
    ("source IS NOT NULL", "source == source", "source IS NOT NULL"),
    ("source is null OR width = 100", "source != source or width == 100", "source IS NULL OR width = 100"),
    ("width BETWEEN 200 AND 600", "width >= 200 and width <= 600", "width >= 200 AND width <= 600"),
    ("0.05 < motion <= 0.5", "0.05 < motion <= 0.5", "0.05 < motion AND motion <= 0.5"),
    ("motion > -1", "motion > -1", "motion > -1"),
    ("width * 2 > 1000", "width * 2 > 1000", "(width * 2) > 1000"),
    ("offset > 1", "offset > 1", '"offset" > 1'),
    ("static == false", "static == False", "static = FALSE"),
    ("motion > 1e-1", "motion > 1e-1", "motion > 0.1"),
]


@pytest.mark.parametrize(("condition", "in_pandas", "sql"), CONDITIONS)
def test_a_plain_condition_takes_the_same_rows(condition: str, in_pandas: str, sql: str):
    assert to_sql(condition) == sql
    expected = TABLE.query(in_pandas, engine="python").index
    assert list(TABLE[taken(TABLE, to_sql(condition))].index) == list(expected)


@pytest.mark.parametrize("condition", ["split = 'train'", "split = 'val'", "split = 'train' AND motion > 0.02"])
def test_what_is_sql_already_stays_as_it_is(condition: str):
    assert to_sql(condition) == condition


@pytest.mark.parametrize(
    "condition",
    [
        "@__import__('os').system('touch written')",
        "__import__('os').system('touch written') == 0",
        "@pd.read_csv('secret.csv').empty",
        "split == 'train' and @__import__('pathlib').Path('written').touch()",
        "source.map(__import__('os').system).any()",
        "motion.to_csv('written') == None",
        "split.str.contains('t')",
        "(lambda: open('written', 'w'))() is None",
        "[open('written', 'w') for _ in (1,)]",
        "f\"{open('written', 'w')}\" == split",
        "width ** 9 ** 9 > 1",
        "split = 'train'; motion > 1",
        "split in @names",
        "`split` == 'train'",
        "'ego' in source",
        "split in []",
        "motion > None",
        "0.1",
        "",
        "motion >",
        "split = 'train\x00'; x",
        "(" * 500 + "static" + ")" * 500,
        "not " * 100_000 + "static",
        "-" * 100_000 + "1 > motion",
    ],
)
def test_anything_else_is_refused_in_one_line_and_not_run(
    condition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        to_sql(condition)
    assert "conditions are SQL now" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_whether_a_bare_name_is_true_or_false_is_seen_by_whoever_asks():
    with pytest.raises(UserError, match="not true or false"):
        taken(TABLE, to_sql("motion"))

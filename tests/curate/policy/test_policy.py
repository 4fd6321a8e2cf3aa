"""Policies: parsing, freezing, deciding, the waterfall. Random tables check the invariants, small ones the numbers."""

import io
import json
import math
import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipmill.curate.contract import schema
from clipmill.curate.errors import UserError
from clipmill.curate.policy import decisions, policy, waterfall
from clipmill.curate.tables.manifest import manifest_at

MAKERS = {"motion": "motion.v1", "text_area": "text.v2", "sharp": "quality.v1", "camera": "motion.v1"}


def table_of(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"clip_id": [f"{i:032x}" for i in range(n)], **columns})


def random_table(rng, n):
    """Scores with gaps, infinities and ties, statuses with gaps, as a manifest read back from Parquet."""
    status = rng.choice(["ok", "error", "not_run"], (n, 3), p=[0.8, 0.1, 0.1])
    maps = [
        [(a, s) for a, s in zip(("motion", "text", "quality"), row, strict=True) if rng.random() < 0.95]
        for row in status
    ]
    scores = rng.choice([0.0, 0.005, 0.01, 0.02, 0.5, np.nan, np.inf], (n, 3)).astype(np.float32)
    return pa.table(
        {
            "clip_id": [f"{i:032x}" for i in rng.permutation(n)],
            "motion": pa.array(scores[:, 0], from_pandas=True),
            "text_area": pa.array(scores[:, 1], from_pandas=True),
            "sharp": pa.array(rng.normal(size=n)),
            "camera": pa.array(rng.choice(["static", "pan", None], n)),
            "dark": pa.array(rng.choice([True, False, None], n)),
            "n_frames": pa.array(rng.integers(1, 99, n), mask=rng.random(n) < 0.1),
            "score_status": pa.array(maps, pa.map_(pa.string(), pa.string())),
        }
    )


def random_policy(rng):
    side = ["min", "max", "drop_lowest", "drop_highest"]
    tables = {
        c: {rng.choice(side): float(rng.choice([0.01, 0.3, 0.9]))} for c in ("motion", "text_area", "sharp", "n_frames")
    }
    tables |= {"camera": {"one_of": ["static", "zoom"]}, "dark": {"equals": False}, "lost": {"min": 0.5}}
    for settings in tables.values():
        settings["on_error"] = str(rng.choice(policy.ON_ERROR))
    chosen = list(rng.permutation(list(tables)))[: rng.integers(0, len(tables) + 1)]
    return policy.parse("random", {c: tables[c] for c in chosen})


def expected(filters, codes):
    """The rule, clip by clip, from one filter outcome at a time."""
    mended = {"drop": "fail", "keep": "pass", "error": "error"}
    words = [
        mended[f.on_error] if c == decisions.ERROR else decisions.FILTER_OUTCOMES[c]
        for f, c in zip(filters, codes, strict=True)
    ]
    outcome = next(
        (o for w, o in (("fail", "dropped"), ("error", "error"), ("not_run", "not_run")) if w in words), "kept"
    )
    return outcome, [f.column for f, w in zip(filters, words, strict=True) if w == "fail"]


@pytest.mark.parametrize("seed", range(40))
def test_invariants_on_random_tables(seed, tmp_path):
    rng = np.random.default_rng(seed)
    rows = random_table(rng, int(rng.choice([0, 1, 2, 60, 300])))
    pq.write_table(rows, tmp_path / "m.parquet")
    makers = MAKERS | {"lost": "lost.v1"}
    table = decisions.to_frame(manifest_at(tmp_path / "m.parquet").read())
    frozen = decisions.freeze(random_policy(rng), table, makers)
    found = decisions.outcomes(frozen, table, makers)
    decided = decisions.decide(frozen, table, makers)
    n = decisions.counts(decided)
    assert n["clips"] == n["kept"] + n["dropped"] + n["error"] + n["not_run"] == len(table)
    assert decided["clip_id"].tolist() == rows["clip_id"].to_pylist()
    assert decisions.to_arrow(found).schema.equals(schema.DECISIONS)
    assert decided["keep"].notna().all()
    for i, row in enumerate(decided.itertuples()):
        assert (row.outcome, list(row.failed_filters)) == expected(frozen.filters, found.codes[i])
        assert row.keep == (row.outcome == "kept")
        margins = dict(row.margins)
        assert all(math.isfinite(m) for m in margins.values())
        assert {c for c, m in margins.items() if m < 0} <= set(row.failed_filters)
    check_waterfall(found, n)
    # pandas' own types (objects, NaN) and the frozen policy through JSON decide the same, to the last bit.
    decisions.save(tmp_path, found, waterfall.summary(found))
    again, loaded, note = decisions.load(tmp_path, "random")
    assert again == frozen
    assert note["policy_id"] == policy.policy_id(frozen)
    pd.testing.assert_frame_equal(loaded, decided)
    pd.testing.assert_frame_equal(decisions.decide(again, rows.to_pandas(), makers), decided)


def check_waterfall(found, n):
    rows = waterfall.waterfall(found)
    assert rows[["dropped", "error", "not_run"]].sum().to_dict() == {k: n[k] for k in ("dropped", "error", "not_run")}
    assert (rows["entering"] == rows["remaining"] + rows["dropped"] + rows["error"] + rows["not_run"]).all()
    assert rows["entering"].tolist()[1:] == rows["remaining"].tolist()[:-1]
    assert (rows["dropped"] <= rows["fails"]).all()
    assert (rows["unique"] <= rows["fails"]).all()
    if len(rows):
        assert rows["remaining"].iloc[-1] == n["kept"]
    for i, marginal in enumerate(rows["marginal"]):
        rest = decisions.Outcomes(
            policy.Policy("rest", found.policy.filters[:i] + found.policy.filters[i + 1 :]),
            found.clip_ids,
            np.delete(found.codes, i, 1),
            np.delete(found.margins, i, 1),
        )
        assert (rest.clips == 0).sum() - n["kept"] == marginal
    both = waterfall.overlap(found).to_numpy()
    assert (both == both.T).all()
    assert (np.diag(both) == rows["fails"]).all()


@pytest.mark.parametrize(("side", "order"), [("drop_lowest", 1), ("drop_highest", -1)])
def test_a_target_drops_exactly_its_share(side, order):
    shuffled = np.random.default_rng(1).permutation(100).astype(np.float32) * order
    for percent in (1, 12.5, 25, 29, 50, 58, 99):
        table = table_of(motion=shuffled)
        frozen = decisions.freeze(policy.parse("p", {"motion": {side: f"{percent}%"}}), table)
        decided = decisions.decide(frozen, table)
        dropped = (decided["outcome"] == "dropped").to_numpy()
        assert dropped.sum() == math.floor(percent)
        assert set(shuffled[dropped] * order) == set(range(math.floor(percent)))
        assert frozen.filters[0].requested == {side: percent / 100}
        assert frozen.filters[0].n_scored == 100


def test_ties_are_kept_and_failed_scores_do_not_count():
    table = table_of(motion=[0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3, np.nan])
    frozen = decisions.freeze(policy.parse("p", {"motion": {"drop_lowest": 0.25}}), table)
    assert frozen.filters[0].n_scored == 7
    assert decisions.counts(decisions.decide(frozen, table)) == {
        "clips": 8,
        "kept": 7,
        "dropped": 0,
        "error": 1,
        "not_run": 0,
    }
    half = decisions.freeze(policy.parse("p", {"motion": {"drop_lowest": 0.6}}), table)
    assert half.filters[0].min == 0.1
    assert decisions.counts(decisions.decide(half, table))["dropped"] == 4


def test_the_interval_of_a_threshold_covers_the_quantile():
    rng = np.random.default_rng(7)
    for share in (0.1, 0.25, 0.5):
        hits = []
        for _ in range(400):
            table = table_of(motion=rng.random(60))
            one = decisions.freeze(policy.parse("p", {"motion": {"drop_lowest": share}}), table).filters[0]
            low, high = (-1 if one.ci_low is None else one.ci_low), (2 if one.ci_high is None else one.ci_high)
            assert low <= one.min <= high
            hits.append(low <= share <= high)
        assert 0.94 <= np.mean(hits) <= 0.995  # at least 0.95 in theory; 400 draws know it to 0.01
    assert decisions.rank_interval(5, 0.5) == (None, None)
    assert decisions.rank_interval(100, 0.5) == (39, 60)  # the textbook interval of the median: 40th to 61st


def test_a_float32_score_on_the_limit_passes():
    table = table_of(motion=np.float32([0.01, np.nextafter(np.float32(0.01), np.float32(0)), 0.07]))
    frozen = decisions.freeze(policy.parse("p", {"motion": {"min": 0.01, "max": 0.07}}), table)
    decided = decisions.decide(frozen, table)
    assert decided["outcome"].tolist() == ["kept", "dropped", "kept"]
    assert dict(decided["margins"][0]) == {"motion": 0.0}
    assert frozen.filters[0].text == "0.01 <= motion <= 0.07"
    assert (table["motion"] >= frozen.filters[0].min).tolist() == [True, False, True]  # what is written is what decides


def test_error_is_not_a_drop_and_not_run_is_not_an_error():
    status = [{"motion": "ok"}, {"motion": "error"}, {"motion": "not_run"}, {}, {"motion.v1": "error"}, None]
    table = table_of(
        motion=[0.5, np.nan, np.nan, np.nan, 0.5, np.nan], n_frames=[9, 9, np.nan, 1, 9, 9], score_status=status
    )
    tables = {"motion": {"min": 0.1}, "n_frames": {"min": 5}}
    decided = decisions.decide(policy.parse("p", tables), table, {"motion": "motion.v1"})
    assert decided["outcome"].tolist() == ["kept", "error", "error", "dropped", "error", "not_run"]
    assert list(decided["failed_filters"][3]) == ["n_frames"]
    tables["motion"]["on_error"] = "drop"
    decided = decisions.decide(policy.parse("p", tables), table, {"motion": "motion.v1"})
    assert decided["outcome"].tolist() == ["kept", "dropped", "error", "dropped", "dropped", "not_run"]
    assert list(decided["failed_filters"][1]) == ["motion"]
    assert "motion" not in dict(decided["margins"][1])


def test_a_target_without_scores_decides_nothing():
    table = table_of(motion=[np.nan, np.nan], score_status=[{}, {}])
    frozen = decisions.freeze(policy.parse("p", {"motion": {"drop_lowest": "25%"}}), table, MAKERS)
    assert decisions.counts(decisions.decide(frozen, table, MAKERS))["not_run"] == 2
    assert len(policy.policy_id(frozen)) == 64
    with pytest.raises(UserError, match="frozen without any score"):
        decisions.decide(frozen, table_of(motion=[0.1]))


def test_joint_and_independent_share():
    """The funnel of the SVD paper: three filters drop 25 %, one 50 %; 26.3 % stay where independence says 21.1 %."""
    n = 1000
    fails = np.zeros((n, 4), bool)
    fails[:250, 0] = fails[240:490, 1] = fails[480:730, 2] = True
    fails[237:737, 3] = True
    kept = ~fails.any(axis=1)
    assert kept.sum() == 263
    table = table_of(**{c: np.where(f, 0.0, 1.0) for c, f in zip("abcd", fails.T, strict=True)}).assign(
        e=[np.nan] * 10 + [1.0] * (n - 10)
    )
    found = decisions.outcomes(policy.parse("p", {c: {"min": 0.5} for c in "abcd"}), table)
    together = waterfall.joint(found)
    assert (together.n, together.kept_share) == (n, 0.263)
    assert together.independent_share == pytest.approx(0.75**3 * 0.5)
    assert "26.3 %" in together.text
    assert "21.1 %" in together.text
    assert waterfall.joint(decisions.outcomes(policy.parse("p", {"e": {"min": 0.5}}), table)).n == n - 10
    assert waterfall.overlap(found).loc["a", "b"] == 10
    rows = waterfall.waterfall(found).set_index("filter")
    assert rows.loc["b", ["entering", "dropped", "fails", "unique", "marginal"]].tolist() == [750, 240, 250, 0, 0]
    assert rows.loc["a", "unique"] == 237


def test_policies_side_by_side():
    table = table_of(motion=[0.0, 0.1, 0.2, np.nan])
    loose, strict = (decisions.decide(policy.parse(str(m), {"motion": {"min": m}}), table) for m in (0.05, 0.15))
    found = waterfall.compare([("loose", loose), ("strict", strict)])
    assert found.counts.set_index("policy")["kept"].to_dict() == {"loose": 2, "strict": 1}
    assert found.changes.to_dict("records") == [{"clip_id": f"{1:032x}", "loose": "kept", "strict": "dropped"}]


def test_parsing_and_texts():
    choices = {"c": {"equals": False}, "d": {"one_of": ["x", "y"]}, "e": "off"}
    parsed = policy.parse("p", {"a": {"drop_lowest": "12.5%"}, "b": {"max": 7}, **choices, "f": {"min": -0.0}})
    assert [f.text for f in parsed.filters] == ["a drop lowest 12.5%", "b <= 7", "c is false", "d in x, y", "f >= 0"]
    assert parsed.filters[0].drop_lowest == 0.125
    assert not parsed.frozen


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"motion": {"mim": 1}}, "did you mean 'min'"),
        ({"motoin": {"min": 1}}, "did you mean 'motion'"),
        ({"motion": {"min": 2, "max": 1}}, "no clip can pass"),
        ({"motion": {"min": 2, "drop_lowest": "5%"}}, "contradict"),
        ({"motion": {"drop_highest": "5%", "drop_lowest": "5%"}}, "contradict"),
        ({"motion": {"min": 2, "equals": 3}}, "contradict"),
        ({"motion": {}}, "sets no limit"),
        ({"motion": {"on_error": "drop"}}, "sets no limit"),
        ({"motion": {"min": 1, "on_error": "ignore"}}, "error, drop, keep"),
        ({"motion": {"min": True}}, "finite number"),
        ({"motion": {"min": float("nan")}}, "finite number"),
        ({"motion": {"min": "0.1"}}, "finite number"),
        ({"motion": {"drop_lowest": 25}}, "25%"),
        ({"motion": {"drop_lowest": "0%"}}, "between 0 and 1"),
        ({"motion": {"drop_lowest": "1.2.3%"}}, "takes a share"),
        ({"motion": 0.1}, "write a table"),
        ({"camera": {"one_of": []}}, "a list of"),
        ({"camera": {"one_of": ["a", 1]}}, "mixes"),
    ],
)
def test_mistakes_are_named(tables, message):
    with pytest.raises(UserError, match=message):
        policy.parse("p", tables, {"motion", "camera"})


def test_a_filter_that_does_not_fit_its_column():
    table = table_of(camera=["pan", "static"], motion=[0.1, 0.2], dark=[True, None])
    for tables, message in (
        ({"camera": {"min": 1}}, "holds text values"),
        ({"motion": {"equals": "pan"}}, "holds number values"),
        ({"dark": {"equals": "true"}}, "holds boolean values"),
        ({"camra": {"equals": "pan"}}, "did you mean 'camera'"),
    ):
        with pytest.raises(UserError, match=message):
            decisions.freeze(policy.parse("p", tables), table)


def test_overrides():
    base = policy.parse("p", {"motion": {"min": 0.01, "max": 0.1}, "text_area": {"max": 0.07}})
    changed = policy.override(
        base, ["policy.motion.min=0.2", "motion.max=0.5", "aesthetics.on_error=keep", "aesthetics.drop_lowest=25%"]
    )
    assert [f.text for f in changed.filters] == [
        "0.2 <= motion <= 0.5",
        "text_area <= 0.07",
        "aesthetics drop lowest 25%",
    ]
    assert changed.filters[2].on_error == "keep"
    assert policy.override(base, ["motion=off", "camera=off"][:1]).columns == ("text_area",)
    assert (
        policy.override(base, ["motion.drop_lowest=0.1", "motion.max=off"]).filters[0].text == "motion drop lowest 10%"
    )
    assert policy.override(base, ['camera.one_of=["a", "b"]', "camera.on_error=drop"]).filters[-1].one_of == ("a", "b")
    for setting in (
        "motion",
        "motion.min",
        "motion=0.1",
        "motoin=off",
        "motion.min=0.2",
        "motion.mim=1",
        "camera.min=1",
    ):
        with pytest.raises(UserError):
            policy.override(
                base, [setting, *(["motion.max=0.1"] if setting.endswith("0.2") else [])], {"motion", "text_area"}
            )


def test_an_override_thaws_only_what_it_touches():
    table = table_of(motion=np.arange(10.0), sharp=np.arange(10.0))
    frozen = decisions.freeze(
        policy.parse("p", {"motion": {"drop_lowest": "20%"}, "sharp": {"drop_lowest": "20%"}}), table
    )
    other = table_of(motion=np.arange(10.0) + 5, sharp=np.arange(10.0) + 5)
    again = decisions.freeze(policy.override(frozen, ["motion.drop_lowest=50%"]), other)
    assert [f.min for f in again.filters] == [10.0, 2.0]


def test_merge_replaces_the_rival_limit():
    base = {"motion": {"min": 0.01, "on_error": "keep"}, "text_area": {"max": 0.07}}
    merged = policy.merge(base, {"motion": {"drop_lowest": "25%"}, "text_area": "off", "new": {"min": 1}})
    assert merged == {"motion": {"on_error": "keep", "drop_lowest": "25%"}, "text_area": "off", "new": {"min": 1}}
    assert base["motion"] == {"min": 0.01, "on_error": "keep"}


def test_the_id_names_what_decides():
    fixed = policy.parse("a", {"motion": {"min": 2.0}})
    frozen = decisions.freeze(policy.parse("b", {"motion": {"drop_lowest": "20%"}}), table_of(motion=np.arange(10.0)))
    assert policy.policy_id(frozen) == policy.policy_id(fixed)
    assert policy.policy_id(policy.parse("a", {"motion": {"min": 2.0, "on_error": "drop"}})) != policy.policy_id(fixed)
    with pytest.raises(ValueError, match="frozen"):
        policy.policy_id(policy.parse("b", {"motion": {"drop_lowest": "20%"}}))


def test_save_writes_the_same_bytes_and_leaves_no_part(tmp_path):
    table = table_of(motion=np.arange(10.0))
    found = decisions.outcomes(decisions.freeze(policy.parse("p", {"motion": {"drop_lowest": "25%"}}), table), table)
    folders = [decisions.save(tmp_path / d, found, waterfall.summary(found)).parent for d in "ab"]
    assert len({tuple(f.read_bytes() for f in sorted(folder.iterdir())) for folder in folders}) == 1
    assert sorted(f.name for f in (tmp_path / "a/decisions").iterdir()) == ["p.json", "p.parquet"]
    note = json.loads((tmp_path / "a/decisions/p.json").read_text())
    assert note["counts"] == {"clips": 10, "kept": 8, "dropped": 2, "error": 0, "not_run": 0}
    assert note["filters"][0]["requested"] == {"drop_lowest": 0.25}
    assert note["waterfall"][0]["threshold"] == "motion >= 2"
    with pytest.raises(UserError, match="there are: p"):
        decisions.load(tmp_path / "a", "q")


def test_order_changes_reasons_not_decisions():
    table = random_table(np.random.default_rng(3), 300).to_pandas()
    tables = {"motion": {"min": 0.01}, "sharp": {"drop_lowest": "20%"}, "n_frames": {"max": 50}}
    shuffled = dict(random.Random(2).sample(list(tables.items()), 3))
    one, two = (decisions.freeze(policy.parse("p", t), table, MAKERS) for t in (tables, shuffled))
    assert (
        decisions.decide(one, table, MAKERS)["outcome"].tolist()
        == decisions.decide(two, table, MAKERS)["outcome"].tolist()
    )


def test_tables_render_in_80_columns():
    from rich.console import Console

    table = table_of(**{f"column_{i}": np.random.default_rng(i).random(2000) for i in range(5)})
    found = decisions.outcomes(policy.parse("p", {f"column_{i}": {"min": 0.25} for i in range(5)}), table)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(waterfall.render(waterfall.waterfall(found), waterfall.joint(found)))
    decided = decisions.to_frame(decisions.to_arrow(found))
    console.print(waterfall.render_comparison(waterfall.compare([("p", decided), ("q", decided)])))
    text = console.export_text()
    assert "column_4 >= 0.25" in text
    assert "marginal" in text
    assert "0 clips change" in text
    assert max(map(len, text.splitlines())) <= 80

"""`curate browse` without a browser: what it answers is checked against the tables, and whom it answers."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.browsed import Browsed, browsed
from helpers.commands import curate

from clipmill.curate.browse.review import wilson
from clipmill.curate.policy import decisions
from clipmill.curate.policy.by_hand import read_words
from clipmill.curate.policy.policy import override
from clipmill.curate.tables.join import makers
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of, read_manifest
from clipmill.curate.video.open_av import open_av


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory) -> Path:
    """The small run, under a policy that keeps some of its clips and exports them."""
    root = shutil.copytree(tiny_run, tmp_path_factory.mktemp("browse") / "run")
    manifest = pd.read_parquet(root / "manifest.parquet", columns=["motion"])
    curate("filter", root, "--name", "mine", "--set", f"motion.min={manifest['motion'].median():.4f}")
    return root


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    with browsed(run, tmp_path_factory.mktemp("made")) as served:
        yield served


@pytest.fixture
def manifest(run) -> pd.DataFrame:
    return pd.read_parquet(run / "manifest.parquet")


def ids(page: Browsed, **query) -> list[str]:
    return [clip["clip_id"] for clip in page.json("/api/clips", **query)["clips"]]


def test_a_view_holds_the_clips_that_the_tables_hold(page, manifest):
    kept, middle = manifest[manifest["keep"]], manifest["motion"].median()
    assert ids(page) == list(manifest["clip_id"])
    assert ids(page, outcome="kept") == list(kept["clip_id"])
    assert ids(page, by="motion") == list(manifest[~manifest["keep"]]["clip_id"])
    assert ids(page, outcome="kept", split="val") == list(kept[kept["split"] == "val"]["clip_id"])
    assert ids(page, **{"r.motion": f"{middle}.."}) == list(manifest[manifest["motion"] >= middle]["clip_id"])
    assert ids(page, **{"v.camera_direction": ["left", "right"]}) == list(
        manifest[manifest["camera_direction"].isin(["left", "right"])]["clip_id"]
    )
    assert ids(page, where=f"motion < {middle} AND width > height") == list(
        manifest[(manifest["motion"] < middle) & (manifest["width"] > manifest["height"])]["clip_id"]
    )
    assert ids(page, sort="-motion") == list(manifest.sort_values("motion", ascending=False, kind="stable")["clip_id"])
    assert ids(page, q="Number 7 texture") == list(manifest[manifest["relpath"] == "7.mp4"]["clip_id"])
    assert ids(page, q="3.mp4") == list(manifest[manifest["relpath"] == "3.mp4"]["clip_id"])
    assert page.json("/api/clips", size=6, page=1)["clips"][0]["clip_id"] == manifest["clip_id"][6]
    limit = next(f.min for f in page.clips.facts.filters if f.column == "motion")
    near = (manifest["motion"] - limit).abs()
    assert ids(page, sort="near:motion") == list(manifest["clip_id"][near.sort_values(kind="stable").index])


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.35, 10.0])
def test_moved_thresholds_decide_as_the_policy_does(page, run, threshold):
    config = config_of(RunDir(run))
    policy = override(decisions.load(run, "mine")[0], [f"motion.min={threshold}"])
    scores = decisions.to_frame(read_manifest(RunDir(run)))
    frozen = decisions.freeze(policy, scores, makers(config))
    expected = decisions.to_frame(decisions.to_arrow(decisions.outcomes(frozen, scores, makers(config))))
    shown = page.json("/api/clips", **{"t.motion.min": threshold})["clips"]
    assert [clip["outcome"] for clip in shown] == list(expected["outcome"])
    assert [clip["failed"] for clip in shown] == [list(failed) for failed in expected["failed_filters"]]
    facets = page.json("/api/facets", **{"t.motion.min": threshold})
    assert facets["outcome"] == expected["outcome"].value_counts().to_dict()
    funnel = {row["column"]: row["fails"] for row in facets["funnel"]}
    assert funnel["motion"] == sum("motion" in failed for failed in expected["failed_filters"])


def test_a_histogram_counts_every_clip_once(page, manifest):
    found = page.json("/api/histogram", column="motion")
    assert sum(kept for kept, _ in found["bins"]) == manifest["keep"].sum()
    assert sum(map(sum, found["bins"])) + found["missing"] == len(manifest)
    values = page.json("/api/histogram", column="camera_direction")["values"]
    assert {v["value"]: v["n"] for v in values} == manifest["camera_direction"].value_counts().to_dict()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"sort": 'motion"; DROP TABLE clips; --'}, "no column"),
        ({"r.motion": "1"}, "LOW..HIGH"),
        ({"r.motion": "1..x"}, "no number"),
        ({"v.nothing": "1"}, "no column"),
        ({"where": "read_text('/etc/passwd') = ''"}, "does not work"),
        ({"where": "(SELECT count(*) FROM hand) > 0"}, "does not work"),
        ({"t.motion.middle": "1"}, "threshold"),
        ({"by": "motoin"}, "motion"),
    ],
)
def test_a_mistake_in_the_address_is_one_line(page, query, says):
    from urllib.parse import urlencode

    answer = page.ask("/api/clips?" + urlencode(query))
    assert answer.status == 400
    assert says in json.loads(answer.data)["error"]


def test_exported_clips_come_out_of_the_tar_by_range(page, manifest):
    clip = manifest[manifest["shard"].notna()].iloc[0]
    whole = page.ask(f"/media/{clip['clip_id']}")
    assert hashlib.sha256(whole.data).hexdigest() == clip["sha256"]
    part = page.ask(f"/media/{clip['clip_id']}", Range="bytes=100-199")
    assert (part.status, part.data) == (206, whole.data[100:200])
    assert part.getheader("Content-Range") == f"bytes 100-199/{clip['size']}"
    assert page.ask(f"/media/{clip['clip_id']}", Range="bytes=-50").data == whole.data[-50:]
    assert page.ask(f"/media/{clip['clip_id']}", Range=f"bytes={clip['size']}-").status == 400


def test_what_is_not_in_a_tar_plays_from_its_source(page, run, manifest, tmp_path):
    shards = run / "shards"
    shards.rename(tmp_path / "away")
    try:
        clip = manifest.iloc[3]
        answer = page.ask(f"/media/{clip['clip_id']}")
    finally:
        (tmp_path / "away").rename(shards)
    with open_av(answer.data) as container:
        assert sum(1 for _ in container.decode(video=0)) == clip["n_frames"]


def test_stills_are_the_stored_pictures(page, run, manifest):
    clip = manifest.iloc[0]
    frames = pd.concat(pd.read_parquet(path) for path in (run / "frames").glob(f"{clip['video_id']}-*.parquet"))
    for row in frames[frames["clip_id"] == clip["clip_id"]].itertuples():
        assert page.ask(f"/still/{clip['clip_id']}/{row.role}").data == row.jpeg
    assert page.ask("/still/nothing/middle").status == 400


def test_nobody_else_is_answered(page, manifest):
    word = {"words": [{"clip_id": manifest["clip_id"][0], "verdict": "drop"}]}
    for path in ("/", "/main.js", "/api/clips", f"/media/{manifest['clip_id'][0]}"):
        assert page.ask(path, Cookie="").status == 403, path
        assert page.ask(path, Cookie=page.cookie + "x").status == 403
        assert page.ask(path, Host="evil.example").status == 403
        assert page.ask(path, Sec_Fetch_Site="cross-site").status == 403
        assert page.ask(path, Origin="http://evil.example").status == 403
    assert page.ask("/?token=wrong", Cookie="").status == 403
    assert page.ask("/api/clips?token=the-key-of-this-page", Cookie="").status == 403
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Cookie": ""}):
        assert page.send("/api/decide", word, **headers).status == 403
    assert page.send("/api/decide", word, Content_Type="text/plain").status == 415
    assert page.ask("/api/decide", "POST", json.dumps(word).encode(), Content_Type="application/json").status == 403
    assert not page.clips.words
    visit = page.ask(page.address.partition(f":{page.port}")[2], Cookie="")
    assert visit.status == 200
    assert {"HttpOnly", "SameSite=Strict"} <= set(visit.getheader("Set-Cookie").split("; "))
    assert "default-src 'none'" in visit.getheader("Content-Security-Policy")


def test_a_decision_by_hand_stands_above_the_policy(run, tmp_path):
    root = shutil.copytree(run, tmp_path / "run")
    before = pd.read_parquet(root / "manifest.parquet")
    dropped, kept = before[~before["keep"]]["clip_id"].iloc[0], before[before["keep"]]["clip_id"].iloc[0]
    with browsed(root, tmp_path) as page:
        words = [{"clip_id": dropped, "verdict": "keep", "note": "sharp enough"}, {"clip_id": kept, "verdict": "drop"}]
        assert page.send("/api/decide", {"words": words}).status == 200
        assert page.send("/api/decide", {"words": [{"clip_id": "nothing", "verdict": "drop"}]}).status == 400
        assert page.send("/api/decide", {"words": [{"clip_id": kept, "verdict": "perhaps"}]}).status == 400
        shown = {clip["clip_id"]: clip["outcome"] for clip in page.json("/api/clips")["clips"]}
        assert (shown[dropped], shown[kept]) == ("kept", "dropped")
        assert ids(page, hand="drop") == [kept]
    said = curate("filter", root, "--policy", "mine").stdout
    assert "by hand 1 kept" in said.replace("\n", " ")
    after = pd.read_parquet(root / "manifest.parquet").set_index("clip_id")
    assert after.loc[dropped, "keep"]
    assert (after.loc[kept, "outcome"], list(after.loc[kept, "failed_filters"])) == ("dropped", ["by_hand"])
    same = [clip for clip in before["clip_id"] if clip not in (kept, dropped)]
    assert after.loc[same, "outcome"].tolist() == before.set_index("clip_id").loc[same, "outcome"].tolist()
    word = read_words(root)[dropped]
    assert (word.verdict, word.note) == ("keep", "sharp enough")
    assert word.who
    assert word.when.tzinfo
    with browsed(root, tmp_path) as page:  # what nobody says any more does not hold: the filters decide again
        page.send("/api/decide", {"words": [{"clip_id": kept}, {"clip_id": dropped}]})
        shown = {clip["clip_id"]: clip["outcome"] for clip in page.json("/api/clips")["clips"]}
        assert (shown[dropped], shown[kept]) == ("dropped", "kept")
    curate("filter", root, "--policy", "mine")
    assert pd.read_parquet(root / "manifest.parquet")["keep"].tolist() == before["keep"].tolist()
    curate("export", root)
    assert set(pq.read_table(root / "manifest.parquet").filter(np.array(before["keep"]))["shard"].to_pylist())


def test_moved_thresholds_are_saved_as_a_policy_and_nothing_else_changes(run, tmp_path):
    root = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("shards"))
    before = pd.read_parquet(root / "manifest.parquet")
    with browsed(root, tmp_path) as page:
        kept = page.json("/api/facets", **{"t.motion.min": 0.3})["outcome"]["kept"]
        answer = page.send("/api/policy?t.motion.min=0.3", {"name": "stricter"})
        assert f"stricter keeps {kept} of {len(before)} clips" in json.loads(answer.data)["told"]
        assert page.send("/api/policy?t.motion.min=0.3", {"name": "mine"}).status == 400  # it decides the run
        assert page.send("/api/policy?t.motion.min=0.3", {"name": "../x"}).status == 400
        assert page.send("/api/policy?t.motion.min=0.3", {"name": "x"}, Origin="http://evil.example").status == 403
    assert pd.read_parquet(root / "manifest.parquet")["keep"].tolist() == before["keep"].tolist()
    assert decisions.saved(root) == sorted({*decisions.saved(run), "stricter"})
    policy, decided, _ = decisions.load(root, "stricter")
    assert next(f.min for f in policy.filters if f.column == "motion") == np.float32(0.3)
    assert decided["keep"].sum() == kept


def test_a_review_says_how_right_a_filter_is(run, tmp_path):
    root = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("shards"))
    with browsed(root, tmp_path) as page:
        drawn = page.json("/api/clips", sample=12, sort="random")["clips"]
        assert len(drawn) == 12
        assert [clip["clip_id"] for clip in drawn[:5]] == ids(page, sample=5, sort="random")
        bad = {clip["clip_id"] for clip in drawn[::3]}
        words = [{"clip_id": c["clip_id"], "verdict": "drop" if c["clip_id"] in bad else "keep"} for c in drawn]
        outside = next(c for c in ids(page) if c not in {clip["clip_id"] for clip in drawn})
        page.send("/api/decide", {"words": [*words, {"clip_id": outside, "verdict": "drop"}]})
        found = page.json("/api/review", sample=12)
    dropped = {clip["clip_id"] for clip in drawn if "motion" in clip["failed"]}
    row = next(row for row in found["filters"] if row["filter"] == "motion")
    assert (found["drawn"], found["decided"], found["bad"]) == (12, 12, len(bad))
    assert row["precision"][0] == pytest.approx(len(bad & dropped) / len(dropped))
    assert row["recall"][0] == pytest.approx(len(bad & dropped) / len(bad))
    assert row["precision"][1] <= row["precision"][0] <= row["precision"][2]


def test_the_interval_is_wilsons():
    assert wilson(0, 10) == pytest.approx((0, 0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.5, 0.2366, 0.7634), abs=1e-4)  # statsmodels: proportion_confint, wilson
    assert wilson(0, 0) is None

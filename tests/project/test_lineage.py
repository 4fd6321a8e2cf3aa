"""From a score back to the bytes of the source videos, and from a source video forwards to the checkpoints that have
seen it.

Each step uses only what the step before recorded, and every hash is computed again from the file it names.
docs/queries.md shows the same as one-liners.
"""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from helpers.commands import evaluate, invoke, one_line

from clipmill.curate.inputs.files import path_of
from clipmill.curate.policy.decisions import load as load_decisions
from clipmill.curate.policy.policy import policy_id
from clipmill.curate.report.clip_text import describe
from clipmill.evaluate.score_rows import append, read
from clipmill.evaluate.sets import natural_key
from clipmill.models.commands import info

STEPS = 2
PAGE = Path(__file__).resolve().parents[2] / "docs" / "queries.md"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_score_leads_back_to_the_source_bytes(small_training: Path, demo_run: Path):
    (score,) = pd.read_parquet(small_training / "scores.parquet").itertuples()
    checkpoint, step = checkpoint_of(score)
    assert (checkpoint, step) == ((small_training / "ckpt").resolve(), STEPS)
    card = json.loads((checkpoint / "card.json").read_text())
    run = run_of(card)
    assert run == demo_run.resolve()
    clips = clips_of(run, card, seen_clips(checkpoint, step))
    videos = pd.read_parquet(run / "videos.parquet").set_index("video_id").loc[clips["video_id"].unique()]
    assert len(videos) > 1
    for video in videos.itertuples():
        assert sha256(path_of(video.uri)) == video.sha256
        assert video.Index == video.sha256[:32]


def checkpoint_of(score: object) -> tuple[Path, int]:
    """Score row -> manifest of the samples, whose videos are those that were scored -> the checkpoint's weights."""
    origin = json.loads(score.fake_from)
    manifest = Path(origin["manifest"])
    assert sha256(manifest) == origin["manifest_sha256"]
    samples = pd.read_parquet(manifest)
    assert all(sha256(manifest.parent / row.path) == row.sha256 for row in samples.itertuples())
    assert score.n_fake == len(samples)
    assert ids_hash(samples) == score.fake_ids
    weights = Path(origin["checkpoint"]) / "steps" / f"{origin['step']:08d}" / "weights.safetensors"
    assert sha256(weights) == origin["weights_sha256"]
    assert set(samples["weights_sha256"]) == {origin["weights_sha256"]}
    return Path(origin["checkpoint"]), origin["step"]


def ids_hash(samples: pd.DataFrame) -> str:
    """`fake_ids` of a set: its clips' contents in the natural order of their names."""
    ordered = sorted(samples.itertuples(), key=lambda row: natural_key(row.clip_id))
    return hashlib.sha256("\n".join(f"{row.sha256}#0" for row in ordered).encode()).hexdigest()[:12]


def seen_clips(checkpoint: Path, step: int) -> pd.DataFrame:
    clips = pd.read_parquet(checkpoint / "steps" / f"{step:08d}" / "clips.parquet")
    return clips[clips["times_drawn"] > 0]


def run_of(card: dict) -> Path:
    """Card -> run: the manifest and the shards are still those that were trained on, and the policy is the one that
    filled them.
    """
    run = Path(card["run"])
    assert sha256(run / "manifest.parquet") == card["manifest_sha256"]
    assert {name: sha256(run / "shards" / name) for name in card["shards"]} == card["shards"]
    shards = pd.read_parquet(run / "shards.parquet").set_index("shard").loc[list(card["shards"])]
    policy, _, note = load_decisions(run, json.loads((run / "run.json").read_text())["policy"])
    assert set(shards["policy_id"]) == {policy_id(policy)} == {note["policy_id"]}
    return run


def clips_of(run: Path, card: dict, seen: pd.DataFrame) -> pd.DataFrame:
    """Clips that were drawn -> their bytes in those shards, and their rows of the manifest, which the policy kept."""
    clips = pd.read_parquet(run / "manifest.parquet").set_index("clip_id").loc[seen["clip_id"]]
    assert clips["keep"].all()
    assert set(clips["shard"]) <= set(card["shards"])
    for clip, drawn in zip(clips.itertuples(), seen.itertuples(), strict=True):
        with (run / "shards" / clip.shard).open("rb") as file:
            file.seek(int(clip.offset))
            assert hashlib.sha256(file.read(int(clip.size))).hexdigest() == clip.sha256 == drawn.sha256
        assert clip.video_id == drawn.video_id
    return clips


def test_a_source_video_leads_forwards_to_the_checkpoints_that_saw_it(small_training: Path, demo_run: Path):
    tables = {path.parent: pd.read_parquet(path) for path in small_training.glob("*/steps/*/clips.parquet")}
    assert [folder.name for folder in sorted(tables)] == [f"{step:08d}" for step in range(1, STEPS + 1)]
    seen = pd.concat(tables, names=["checkpoint"]).reset_index("checkpoint").query("times_drawn > 0")
    by_video = seen.groupby("video_id")["checkpoint"].agg(set)
    manifest = pd.read_parquet(demo_run / "manifest.parquet")
    assert set(by_video.index) <= set(manifest.query("keep and split == 'train'")["video_id"])
    held_out = manifest.query("split != 'train'")["video_id"]
    assert len(held_out)
    assert not set(held_out) & set(by_video.index)
    last = max(tables)
    assert all(last in checkpoints for checkpoints in by_video)  # what step 1 has seen, step 2 has
    assert seen.groupby("checkpoint")["times_drawn"].sum().is_monotonic_increasing
    card = json.loads((small_training / "ckpt" / "card.json").read_text())
    assert (
        seen["times_drawn"][seen["checkpoint"] == last].sum() == STEPS * card["buckets"][0]["batch"]
        or len(card["buckets"]) > 1
    )


def test_the_commands_say_the_same(small_training: Path, demo_run: Path, capsys: pytest.CaptureFixture):
    """`models info --clips` names what was seen; `curate inspect` leads from a clip of it to its source and its
    shard.
    """
    seen = seen_clips(small_training / "ckpt", STEPS)
    info(small_training / "ckpt", clips=True, whole_config=False)
    told = capsys.readouterr().out
    assert all(row.clip_id in told and row.video_id in told for row in seen.itertuples())
    clip = pd.read_parquet(demo_run / "manifest.parquet").set_index("clip_id").loc[seen["clip_id"].iloc[0]]
    shown = describe(demo_run, seen["clip_id"].iloc[0])
    assert all(str(clip[name]) in shown for name in ("relpath", "shard", "sha256", "video_id"))


def test_the_queries_of_the_documentation_give_the_columns_it_shows(
    small_training: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(small_training)
    seen = seen_clips(small_training / "ckpt", STEPS)["video_id"].iloc[0]
    relpath = pd.read_parquet("run/videos.parquet").set_index("video_id")["relpath"][seen]
    page = PAGE.read_text(encoding="utf-8").replace("00000020", f"{STEPS:08d}").replace("dunes_av1.mkv", relpath)
    shown = re.findall(r"^```sql\n(.*?)^```\n\n```text\n(.*?)\n", page, re.DOTALL | re.MULTILINE)
    assert len(shown) == page.count("\n```sql\n") > 9
    for query, header in shown:
        answer = duckdb.sql(query).df()
        assert list(answer.columns) == header.split(), query
        assert len(answer), query


def test_the_documentation_leads_from_a_score_to_its_source_videos_in_one_query(
    small_training: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(small_training)
    queries = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (query,) = [text for text in queries if text.startswith("SELECT s.title, count(DISTINCT v.video_id)")]
    ((_, videos, drawn),) = duckdb.sql(query).fetchall()
    seen = seen_clips(small_training / "ckpt", STEPS)
    assert (videos, drawn) == (seen["video_id"].nunique(), seen["times_drawn"].sum())


def test_the_reference_set_is_recorded_and_an_older_file_of_scores_still_reads(
    small_training: Path, demo_run: Path, tmp_path: Path
):
    (row,) = read(small_training / "scores.parquet")
    assert row.real_from == {
        "manifest": str((demo_run / "manifest.parquet").resolve()),
        "manifest_sha256": sha256(demo_run / "manifest.parquet"),
    }
    assert "checkpoint" not in json.dumps(row.facts)  # scores of two checkpoints are there to be compared
    old = tmp_path / "old.parquet"
    pd.read_parquet(small_training / "scores.parquet").drop(columns=["real_from", "fake_from"]).to_parquet(old)
    assert [dict(row.fake_from) for row in read(old)] == [{}]
    append(old, [row])
    assert [row.fake_from.get("step") for row in read(old)] == [None, STEPS]


def test_the_page_tells_the_whole_story(small_training: Path, demo_run: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    evaluate("report", small_training / "scores.parquet", "--out", page)
    html = page.read_text()
    (score,) = read(small_training / "scores.parquet")
    counts = json.loads((demo_run / "run.json").read_text())["counts"]
    assert f"{counts['clips']}: {counts['kept']} kept, {counts['dropped']} dropped" in html
    assert score.fingerprint in html
    assert f"{score.value:.5g}" in html
    assert f"{score.n_fake}" in html
    assert 'src="data:image/png;base64,' in html
    for command in ("curate run ", "models train ", "models sample ", "evaluate run "):
        assert command in html.split("<pre>")[1]
    (link,) = re.findall(r'href="([^"]+report[.]html)"', html)
    assert (tmp_path / link).resolve() == (demo_run / "report.html").resolve()
    assert "://" not in html  # it asks for nothing from outside


def test_a_page_without_its_sources_still_has_the_numbers_and_mistakes_are_one_line(
    small_training: Path, tmp_path: Path
):
    (score,) = read(small_training / "scores.parquet")
    origin = {"checkpoint": str(tmp_path / "gone"), "manifest": str(tmp_path / "samples" / "manifest.parquet")}
    append(tmp_path / "lone.parquet", [replace(score, real_from={}, fake_from=origin)])
    evaluate("report", tmp_path / "lone.parquet")
    html = (tmp_path / "lone.html").read_text()
    assert score.fingerprint in html
    assert "not here any more" in html
    (tmp_path / "none.parquet").write_bytes(b"x")
    for name in ("none.parquet", "absent.parquet"):
        one_line(invoke("evaluate", "report", tmp_path / name))

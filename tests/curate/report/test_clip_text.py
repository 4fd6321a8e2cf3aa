"""`curate inspect` on a small run directory around a real video: what it says is what the tables hold, and its commands
work.
"""

import re
import shlex
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import barcode
from PIL import Image

from clipmill.curate.common.files import write_atomic, write_json
from clipmill.curate.common.settings import parse_override
from clipmill.curate.config import load
from clipmill.curate.contract import schema
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import UserError
from clipmill.curate.policy import decisions, waterfall
from clipmill.curate.policy.policy import parse
from clipmill.curate.report.clip_text import Clip, _see, _settings, describe
from clipmill.curate.tables.run_dir import RunDir

N_CLIPS, CLIP_FRAMES, STEP_PTS = 4, 12, 512
VIDEO = "ab" * 16
CONFIG = ["annotators=['motion', 'quality']", "motion.fps=4.0"]


def encode(path, first=0, step=5):
    """48 frames, frame k of one grey level, first + step * k, with B-frames."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 24, options={"bf": "3", "g": "10", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(N_CLIPS * CLIP_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), first + step * k, np.uint8), "gray")
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))


def clip_row(k, uri):
    start, end = k * CLIP_FRAMES * STEP_PTS, (k + 1) * CLIP_FRAMES * STEP_PTS
    times = {"start_s": start / 12288, "end_s": end / 12288, "duration_s": (end - start) / 12288}
    box = {"crop_x": 0, "crop_y": 6, "crop_w": 64, "crop_h": 36, "width": 64, "height": 36}
    return (
        {
            "clip_id": schema.clip_id(VIDEO, start, end),
            "video_id": VIDEO,
            "clip_index": k,
            "start_pts": start,
            "end_pts": end,
        }
        | {"time_base_num": 1, "time_base_den": 12288, "n_frames": CLIP_FRAMES, "fps": 24.0, "cut_residual": 0.125}
        | times
        | box
        | {"uri": uri, "relpath": "in/été 'x'.mp4", "split": "train", "license": "CC0-1.0"}
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four clips: one kept, one dropped by two filters, one with an error, one not run; the first and third are near
    duplicates.
    """
    root = tmp_path_factory.mktemp("inspect")
    video = root / "été 'x'.mp4"
    encode(video)
    rows = [clip_row(k, video.as_uri()) for k in range(N_CLIPS)]
    columns = {
        name: [r.get(name) for r in rows] for name in (*schema.CLIPS.names, "uri", "relpath", "split", "license")
    }
    table = pa.table(
        {n: pa.array(v, schema.CLIPS.field(n).type if n in schema.CLIPS.names else None) for n, v in columns.items()}
    )
    scores = {"motion": [0.25, 0.0031, None, 0.5], "sharpness": [0.75, 0.0625, 0.875, None]}
    status = [
        [("motion", m), ("quality", q)] for m, q in (("ok", "ok"), ("ok", "ok"), ("error", "ok"), ("ok", "not_run"))
    ]
    extra = {n: pa.array(v, pa.float32()) for n, v in scores.items()} | {
        "score_status": pa.array(status, pa.map_(pa.string(), pa.string())),
        "dup_group_id": pa.array(["g" * 32, None, "g" * 32, None]),
        "dup_rank": pa.array([0, 0, 1, 0], pa.int32()),
        "shard": pa.array(["train-000000.tar", None, None, None]),
        "offset": pa.array([512, None, None, None], pa.int64()),
        "size": pa.array([7, None, None, None], pa.int64()),
        "sha256": pa.array(["0" * 64, None, None, None]),
    }
    for name, values in extra.items():
        table = table.append_column(name, values)
    finish(RunDir(root / "run"), table, video)
    return root / "run"


def finish(run, table, video):
    config = load(
        "default",
        [*CONFIG, *(f"policy.{c}=off" for c in load().policy), "policy.motion.min=0.01", "policy.sharpness.min=0.125"],
    )
    makers = {"motion": "motion.v1", "sharpness": "quality.v1"}
    scores = decisions.to_frame(table)
    targets = {"sharpness": {"drop_lowest": "34%"}, "motion": {"min": 0.3, "on_error": "drop"}}
    for policy in (parse("default", config.policy), parse("strict", targets)):
        found = decisions.outcomes(decisions.freeze(policy, scores, makers), scores, makers)
        decisions.save(run.root, found, waterfall.summary(found))
        if policy.name == "default":
            for name in ("keep", "outcome", "failed_filters", "margins"):
                table = table.append_column(name, decisions.to_arrow(found)[name])
    write_atomic(run.manifest, table)
    kinds = schema.annotation_schema({"motion": Column(pa.float32(), "short sides per second")})
    errors = [None, None, "fewer than two sampled frames", None]
    rows = [
        {"clip_id": c, "error": e, "status": "error" if e else "ok"}
        for c, e in zip(table["clip_id"].to_pylist(), errors, strict=True)
    ]
    run.write("annotations/motion.v1", VIDEO, "0123456789ab", pa.Table.from_pylist(rows, kinds))
    docs = {f.name: f.metadata[b"doc"].decode() for f in schema.CLIPS} | {
        "motion": "mean flow magnitude, short sides per second"
    }
    facts = {"config": config.as_dict(), "columns": makers, "column_docs": docs, "policy": "default"}
    write_json(
        run.run_json, facts | {"command": f"curate run {shlex.quote(str(video.parent))} --out run --set motion.fps=4.0"}
    )
    run.shards.mkdir()
    (run.shards / "train-000000.tar").write_bytes(b"x" * 512 + b"a clip!" + b"x" * 512)


@pytest.fixture(scope="module")
def ids(run):
    return pq.read_table(run / "manifest.parquet")["clip_id"].to_pylist()


def lines_of(text, start):
    """The words of the lines that begin with `start`."""
    return [line.split() for line in text.splitlines() if line.strip().startswith(start)]


def test_a_dropped_clip_says_every_reason(run, ids):
    text = describe(run, ids[1][:10])
    assert text.startswith(f"clip {ids[1]}\n")
    assert "dropped by motion, sharpness" in text
    assert ["motion", "0.0031", "motion", ">=", "0.01", "-0.0069", "fail"] in lines_of(text, "motion ")
    assert ["sharpness", "0.0625", "sharpness", ">=", "0.125", "-0.0625", "fail"] in lines_of(text, "sharpness ")
    assert re.search(r"policy strict \([0-9a-f]{12}\): dropped by sharpness, motion", text)
    assert "sharpness >= 0.75 (drop lowest 34% of 3)" in text
    assert "pts 6144 to 12288 of 1/12288 s, 0.500 to 1.000 s; the end is exclusive" in text
    assert "number 1 of the video, 12 frames, 0.500 s, 24.000 fps, 64 x 36 px at (0, 6)" in text


def test_every_column_is_shown_with_its_unit_and_maker(run, ids):
    text = describe(run, ids[0])
    manifest = pq.read_table(run / "manifest.parquet").to_pylist()[0]
    shown = {line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()}
    hidden = {"score_status", "keep", "outcome", "failed_filters", "margins", "dup_of"}
    assert {c for c, v in manifest.items() if v is not None} - hidden <= shown
    assert re.search(r"motion +0\.25 +mean flow magnitude, short sides per second", text)
    assert re.search(r"cut_residual +0\.125 +0 to 1, the highest cut score", text)
    assert re.search(r"motion\.v1: ok, fingerprint 0123456789ab, method = farneback, .*fps = 4\.0, ", text)
    assert "rank 0 of 2 in group gggggggggggg: the others are " + ids[2][:12] in text
    lines = text.split("see its frames")[0].replace(str(run.parent), "").splitlines()
    assert max(map(len, lines)) <= 200


def test_errors_and_gaps_are_told_apart(run, ids):
    error, not_run = describe(run, ids[2]), describe(run, ids[3])
    assert "error: a score failed" in error
    assert "motion.v1: error (fewer than two sampled frames), fingerprint" in error
    assert re.search(r"motion +null +motion >= 0\.01 +error\n", error)
    assert re.search(r"motion +null +motion >= 0\.3 +error, on_error = drop", error)
    assert "not_run: a score was never computed" in not_run
    assert re.search(r"sharpness +null +sharpness >= 0\.125 +not_run", not_run)


def test_the_commands_show_the_clip(run, ids, tmp_path):
    text = describe(run, ids[0])
    commands = [line.strip() for line in text.splitlines() if line.strip().startswith("python -c")]
    assert len(commands) == 2
    for command in commands:
        subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=tmp_path, check=True)
    assert (tmp_path / f"{ids[0][:12]}.mp4").read_bytes() == b"a clip!"
    subprocess.run(
        [sys.executable, *shlex.split(lines_with(describe(run, ids[2]), "python -c")[0])[1:]], cwd=tmp_path, check=True
    )
    for clip, first in ((ids[0], 0), (ids[2], 24)):
        frames = sorted(tmp_path.glob(f"{clip[:12]}_*.png"), key=lambda p: int(p.stem.split("_")[1]))
        assert [int(p.stem.split("_")[1]) for p in frames] == [STEP_PTS * k for k in range(first, first + CLIP_FRAMES)]
        levels = [np.asarray(Image.open(p)).mean() for p in frames]
        steps = np.diff(levels)
        assert (steps > 2).all()
        assert (steps < 9).all()


def seen(source, span, folder):
    """What the printed command for the frames of a clip [start, end) of a source does: the process, and the pictures
    by their time stamps.
    """
    row = clip_row(0, source.as_uri()) | {"start_pts": span[0], "end_pts": span[1]}
    (command,) = lines_with("\n".join(_see(Clip(folder, row, {}))), "python -c")
    done = subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=folder, capture_output=True, text=True)
    return done, {int(p.stem.split("_")[1]): np.asarray(Image.open(p)) for p in folder.glob("*.png")}


def test_the_command_follows_time_stamps_that_start_anew(tmp_path):
    part = barcode.write_video(tmp_path / "a.ts", list(range(20)), Fraction(1, 25), size=(96, 64))
    source = tmp_path / "joined.ts"
    source.write_bytes(2 * part.read_bytes())
    _, pts = barcode.video_row(source)
    done, pictures = seen(source, (pts[25], pts[30]), tmp_path)
    assert done.returncode == 0, done.stderr
    assert {at: barcode.read(picture) for at, picture in pictures.items()} == {pts[20 + k]: k for k in range(5, 10)}


def test_the_command_opens_no_file_but_the_source(tmp_path):
    barcode.write_video(tmp_path / "private.ts", list(range(20)), Fraction(1, 25), size=(96, 64))
    (tmp_path / "source.ts").write_text("#EXTM3U\n#EXTINF:1,\nprivate.ts\n#EXT-X-ENDLIST\n")
    done, pictures = seen(tmp_path / "source.ts", (0, 1 << 40), tmp_path)
    assert "an HLS playlist" in done.stderr
    assert not pictures


def lines_with(text, start):
    return [line.strip() for line in text.splitlines() if line.strip().startswith(start)]


def test_reproduce_gives_the_run_and_the_frozen_thresholds(run, ids):
    text = describe(run, ids[0])
    assert "the run        curate run " in text
    again = shlex.split(lines_with(text, "its numbers")[0].removeprefix("its numbers"))
    assert again[:2] == ["curate", "run"]
    assert again[2].endswith("été 'x'.mp4")
    overrides = [again[i + 1] for i, word in enumerate(again) if word == "--set"]
    made = load("default", overrides)
    assert made.as_dict() | {"policy": None} == load("default", CONFIG).as_dict() | {"policy": None}
    assert parse("p", made.policy).columns == ("motion", "sharpness")


def test_settings_reproduce_any_configuration():
    sets = [
        "annotators=['motion']",
        "scenes.detector=cascade",
        "export.fps=none",
        "export.split={train=0.8, val=0.2}",
        "policy.motion=off",
    ]
    config = load("default", [*sets, "policy.text_area.drop_highest=25%", "policy.new.one_of=['a', 'b']"])
    settings = _settings(config)
    assert parse("p", load("default", settings).policy) == parse("p", config.policy)
    assert load("default", settings).export == config.export
    assert load("default", settings).scenes == config.scenes
    assert _settings(load()) == []
    assert all(parse_override(s) for s in settings)


def test_prefixes(run, ids):
    with pytest.raises(
        UserError, match=r"no clip starts with 'zzzz'; closest: [0-9a-f]{12}, [0-9a-f]{12}, [0-9a-f]{12}"
    ):
        describe(run, "zzzz")
    near = ids[1][:6] + "x"
    with pytest.raises(UserError, match=f"closest: {ids[1][:12]}"):
        describe(run, near)
    with pytest.raises(UserError, match="clips of that video: "):
        describe(run, "été 'x'.mp4")
    with pytest.raises(UserError, match="give a clip id of this run"):
        describe(run, "")
    assert describe(run, ids[0].upper()[:14]).startswith(f"clip {ids[0]}")


def test_an_ambiguous_prefix_names_the_clips(run, ids, tmp_path):
    table = pq.read_table(run / "manifest.parquet")
    twins = ["aa" + ids[0][2:], "aa" + ids[1][2:], *ids[2:]]
    other = RunDir(tmp_path)
    write_atomic(other.manifest, table.set_column(0, "clip_id", pa.array(twins)))
    other.run_json.write_text((run / "run.json").read_text())
    with pytest.raises(UserError, match=r"2 clips start with 'aa': aa.*; give more digits"):
        describe(tmp_path, "aa")


def test_no_run_here(tmp_path):
    with pytest.raises(UserError):
        describe(tmp_path, "ab")


def test_stale_decisions_say_so(run, ids, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    table = pq.read_table(run / "manifest.parquet")
    scores = pa.array([0.0, 0.0, 0.0, 0.0], pa.float32())
    write_atomic(
        RunDir(tmp_path / "run").manifest, table.set_column(table.column_names.index("motion"), "motion", scores)
    )
    assert "scores have changed since" in describe(tmp_path / "run", ids[0])
    assert "scores have changed since" not in describe(run, ids[0])


@pytest.mark.slow
def test_the_commands_make_the_same_numbers_and_decision_again(tmp_path):
    """A run of two videos with a keep-rate target; the clip of one video is made again from what `inspect` prints."""

    def curate(*words):
        subprocess.run(
            [sys.executable, "-m", "clipmill.curate.cli", *words], cwd=tmp_path, check=True, capture_output=True
        )

    (tmp_path / "in").mkdir()
    encode(tmp_path / "in/a b.mp4", 150, 0)
    encode(tmp_path / "in/c.mp4", 80, 0)
    off = [f"policy.{column}=off" for column in load().policy]
    sets = ["annotators=['quality']", "scenes.detector=cascade", *off, "policy.exposure.drop_lowest=50%"]
    curate("run", "in", "--out", "run", "--no-export", *(word for s in sets for word in ("--set", s)))
    clips = pq.read_table(tmp_path / "run/manifest.parquet").to_pandas().set_index("relpath")
    assert clips["outcome"].to_dict() == {"a b.mp4": "kept", "c.mp4": "dropped"}
    text = describe(tmp_path / "run", clips.loc["a b.mp4", "clip_id"])
    for start in ("its numbers", "its decision"):
        curate(*shlex.split(lines_with(text, start)[0].removeprefix(start))[1:])
    again = describe(tmp_path / "again", clips.loc["a b.mp4", "clip_id"])
    same = ("clip ", "  decision", "  exposure ", "  near_black ", "  n_frames ", "quality.v1: ok, fingerprint")
    first, second = (
        [line.split("(")[0].split() for line in t.splitlines() if line.startswith(same)] for t in (text, again)
    )
    told = [line for line in first if ">=" not in line]
    assert len(told) == 6
    assert told == [line for line in second if ">=" not in line]

"""How joining, deciding, the report, `curate filter` and opening a data set grow with the number of clips.

    python benchmarks/scale.py --run RUN --work DIR [--clips 1e5] [--rows 1e6] [--results FILE]

RUN is any run of the default preset on real videos: its rows, in another order and under other ids, become a run of
--clips clips, 20 a video, 5 % of them copies of another clip, 30 % at the longest duration, parts gathered in buckets.
Its manifest, repeated, becomes one of --rows rows. Each measurement is a process of its own.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.files import read_table, write_json
from clipmill.curate.common.publish import publish
from clipmill.curate.contract import schema
from clipmill.curate.tables.buckets import bucket_path, digits_for, write_bucket
from clipmill.curate.tables.compact import _PER_BUCKET
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of, read_manifest, read_run_json

PER_VIDEO, COPIES, LONGEST = 20, 0.05, 0.3
PER_SHARD, CLIP_BYTES = 2000, 1000
STEPS = ("join and decide", "report", "filter", "open the data set")


def hex_ids(numbers, word):
    return [hashlib.sha256(f"{word} {n}".encode()).hexdigest()[:32] for n in numbers]


class Template:
    """Rows of a real run, clip by clip, in every table."""

    def __init__(self, root):
        self.run, self.config = RunDir(root), config_of(RunDir(root))
        prints = self.config.fingerprints
        units = sorted(self.run.done("clips", prints.base))
        self.clips = self.run.read("clips", units, prints.base, schema.CLIPS)
        self.videos = self.run.read("videos", units, prints.base, schema.VIDEOS)
        ids = self.clips["clip_id"].combine_chunks()
        self.tables = {("clips", prints.base): self.clips}
        for name, annotator in self.config.annotators.items():
            stored = schema.annotation_schema(annotator.columns)
            rows = self.run.read(prints.tables[name], units, prints.annotations[name], stored)
            self.tables[prints.tables[name], prints.annotations[name]] = rows.take(
                pc.index_in(ids, rows["clip_id"].combine_chunks())
            )

    def of(self, key, rows, clip_ids, video_ids, rng):
        """Of each clip one of the template's rows, under its new ids."""
        table = self.tables[key].take(pa.array(rows))
        for name, values in {"clip_id": clip_ids, "video_id": video_ids}.items():
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
        if key[0] == "clips":
            longest = rng.random(len(rows)) < LONGEST
            seconds = np.where(longest, 20.0, rng.uniform(1.0, 20.0, len(rows)))
            table = table.set_column(table.column_names.index("duration_s"), "duration_s", pa.array(seconds))
        for name in [n for n in table.column_names if n.startswith(("phash_", "thumb_"))]:
            at, field = table.column_names.index(name), table.schema.field(name)
            table = table.set_column(at, field, self._print(table[name], name, rows, rng))
        return table

    def _print(self, column, name, rows, rng):
        """Random hashes, but for copies; of the small pictures the role's own."""
        if name.startswith("thumb_"):
            return pc.binary_slice(column, 0, 1024)
        codes = rng.integers(0, 1 << 63, len(rows), dtype=np.int64) * 2 + 1
        of = rng.integers(0, len(rows), len(rows))
        codes = np.where(rng.random(len(rows)) < COPIES, codes[of], codes)
        return pa.array([f"{int(code) & (1 << 64) - 1:016x}" for code in codes], pa.string())


def make_run(template, root, n_clips):
    """Buckets of every table that joining reads, and run.json."""
    run, prints = RunDir(root), template.config.fingerprints
    videos = sorted(hex_ids(range(n_clips // PER_VIDEO), "video"))
    digits = digits_for(len(videos), _PER_BUCKET)
    for beginning in sorted({unit[:digits] for unit in videos}):
        units = [unit for unit in videos if unit.startswith(beginning)]
        rng = np.random.default_rng(int(beginning or "0", 16))
        rows = rng.integers(0, len(template.clips), len(units) * PER_VIDEO)
        video_ids = np.repeat(units, PER_VIDEO)
        clip_ids = hex_ids([f"{unit} {k}" for unit in units for k in range(PER_VIDEO)], "clip")
        for key in template.tables:
            table = template.of(key, rows, clip_ids, video_ids, np.random.default_rng([len(key[0]), *rows[:4]]))
            write(run, key, beginning, units, table, PER_VIDEO)
        known = template.videos.take(pa.array(rows[::PER_VIDEO] % len(template.videos)))
        for name, values in {"video_id": units, "relpath": [f"{u}.mp4" for u in units]}.items():
            known = known.set_column(known.column_names.index(name), name, pa.array(values, pa.string()))
        write(run, ("videos", prints.base), beginning, units, known, 1)
    write_json(run.run_json, read_run_json(template.run))
    return videos


def write(run, key, beginning, units, table, each):
    folder = run.root / key[0]
    folder.mkdir(parents=True, exist_ok=True)
    parts = ((unit, table.slice(k * each, each)) for k, unit in enumerate(units))
    write_bucket(bucket_path(folder, beginning, key[1]), parts, table.schema.remove_metadata())


def make_rows(source, root, n_rows):
    """A manifest of so many rows, exported: shards that are mostly holes, with the headers that opening looks at."""
    import tarfile

    manifest = read_manifest(RunDir(source))
    times = -(-n_rows // len(manifest))
    rows = pa.concat_tables([manifest] * times).slice(0, n_rows)
    place = np.arange(n_rows)
    shards, ids = place // PER_SHARD, hex_ids(range(n_rows), "row")
    offsets = place % PER_SHARD * (512 + CLIP_BYTES + 24) + 512
    made = {
        "clip_id": pa.array(ids), "offset": pa.array(offsets), "size": pa.array(np.full(n_rows, CLIP_BYTES)),
        "shard": pa.array([f"train-{s:05d}.tar" for s in shards]), "export_n_frames": pa.array(np.full(n_rows, 48)),
        "captions": pa.array([[{"source": "x", "model": None, "text": f"clip {i}", "sample_weight": 1.0,
                               "status": "ok"}] for i in range(n_rows)], pa.list_(schema.CAPTION)),
    }  # fmt: skip
    for name, values in made.items():
        field = rows.schema.field(name)
        rows = rows.set_column(rows.column_names.index(name), field, values.cast(field.type))
    (root / "shards").mkdir(parents=True, exist_ok=True)
    for shard in range(int(shards[-1]) + 1):
        of = np.flatnonzero(shards == shard)
        with (root / "shards" / f"train-{shard:05d}.tar").open("wb") as file:
            for i in (of[0], of[-1]):
                member = tarfile.TarInfo(f"{ids[i]}.mp4")
                member.size = CLIP_BYTES
                file.seek(offsets[i] - 512)
                file.write(member.tobuf())
            file.truncate(offsets[of[-1]] + CLIP_BYTES)
    name = read_run_json(RunDir(source))["policy"]
    decided = pa.concat_tables([read_table(source / "decisions" / f"{name}.parquet")] * times).slice(0, n_rows)
    note = json.loads((source / "decisions" / f"{name}.json").read_text())
    facts = read_run_json(RunDir(source))
    plain = rows.drop_columns([c for c in decided.column_names if c != "clip_id" and c in rows.column_names])
    path = f"decisions/{name}"
    publish(root, plain, {f"{path}.parquet": decided, f"{path}.json": note, "run.json": facts}, f"{path}.parquet")


def step(name, root):
    """One measurement, in this process: prints CPU seconds and peak memory in MB."""
    if name == "join and decide":
        from clipmill.curate.driver.finish import finish

        run = RunDir(root)
        config = config_of(run)
        units = sorted(run.done("clips", config.fingerprints.base))
        done = finish(run, config, units)
        done.publish(run, {**read_run_json(run), "policy": done.outcomes.policy.name})
    elif name == "report":
        from clipmill.curate.report import write_report

        write_report(root)
    elif name == "filter":
        from clipmill.curate.commands import filter_

        filter_(root, None, ["motion.min=0.01"], None)
    else:
        from clipmill.curate import ClipDataset

        assert len(ClipDataset(root, "size > 0", n_frames=16))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}))


def measured(name, root):
    command = [sys.executable, __file__, "--step", name, "--work", str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(results):
    lines = ["| step | clips | CPU s | peak memory, MB | CPU s per million clips |", "|---|---|---|---|---|"]
    for row in sorted(results, key=lambda r: (STEPS.index(r["step"]), r["clips"])):
        per_million = row["cpu_s"] / row["clips"] * 1e6
        lines.append(
            f"| {row['step']} | {row['clips']:,} | {row['cpu_s']:.1f} | {row['peak_mb']:,.0f} | {per_million:.1f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--clips", default="1e5")
    parser.add_argument("--rows", default="1e6")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "scale.json")
    parser.add_argument("--step")
    options = parser.parse_args()
    if options.step:
        return step(options.step, options.work)
    results = json.loads(options.results.read_text()) if options.results.exists() else []
    largest = None
    if options.run is not None:
        template = Template(options.run)
        for n_clips in (int(float(text)) for text in options.clips.split(",")):
            largest = options.work / f"clips-{n_clips}"
            make_run(template, largest, n_clips)
            results = with_steps(results, largest, n_clips, STEPS[:3], options.results)
        for n_rows in (int(float(text)) for text in options.rows.split(",")):
            root = options.work / f"rows-{n_rows}"
            make_rows(largest, root, n_rows)
            results = with_steps(results, root, n_rows, STEPS[2:], options.results)
    print(table(results))


def with_steps(results, root, n_clips, steps, path):
    """The results with these steps measured; each is on disk when it is there."""
    for name in steps:
        row = {"step": name, "clips": n_clips, **measured(name, root)}
        results = [r for r in results if (r["step"], r["clips"]) != (name, n_clips)] + [row]
        path.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()

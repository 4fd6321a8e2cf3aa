"""`curate browse` at a million clips: first page, next pages, sorting, filtering, memory.

    python benchmarks/browse_million.py RUN [CLIPS]

RUN: any run; its manifest is repeated, with other ids and scores, in a folder that goes afterwards. Figures are of the
machine as it is, so say what else it does.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CHUNK = 1 << 17


def write_manifest(source: Path, path: Path, n: int) -> None:
    """n rows like those of `source`: every clip has an id of its own, and every score moves by up to a tenth."""
    rows = pq.read_table(source)
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for first in range(0, n, CHUNK):
            count = min(CHUNK, n - first)
            part = rows.take(pa.array(rng.integers(0, len(rows), count)))
            for i, field in enumerate(part.schema):
                if field.name == "clip_id":
                    ids = pa.array([f"{first + k:032x}" for k in range(count)])
                    part = part.set_column(i, field, ids)
                elif pa.types.is_floating(field.type):
                    moved = part.column(i).to_numpy() * rng.uniform(0.9, 1.1, count)
                    part = part.set_column(i, field, pa.array(moved, field.type, from_pandas=True))
            writer.write_table(part)


def memory_mb(pid: int) -> str:
    """Of a process: what is in memory, how much of that is no mapped file, and the most there was."""
    rows = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return ", ".join(f"{row[0]} {int(row[1]) / 1024:.0f} MB" for row in rows if row[0].rstrip(":") in FIELDS)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads: what a busy machine does not change."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


FIELDS = ("VmRSS", "RssAnon", "VmHWM")


def main(run: Path, n: int) -> None:
    """Prints one line per question."""
    with tempfile.TemporaryDirectory(dir=run.parent) as folder:
        root = Path(folder) / "run"
        shutil.copytree(run, root, ignore=shutil.ignore_patterns("shards", "manifest.parquet"))
        write_manifest(run / "manifest.parquet", root / "manifest.parquet", n)
        print(f"{n} clips, manifest of {(root / 'manifest.parquet').stat().st_size / 1e6:.0f} MB")
        began = time.perf_counter()
        server = subprocess.Popen(["curate", "browse", str(root)], stdout=subprocess.PIPE, text=True)
        try:
            port, token = re.search(r":(\d+)/\?token=(\S+)", server.stdout.readline()).groups()
            print(f"the address is told after {time.perf_counter() - began:.2f} s")
            ask_all(int(port), token, server.pid, began)
        finally:
            server.terminate()
            server.wait()


def ask_all(port: int, token: str, pid: int, began: float) -> None:
    """Ask as the page does."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    cookie = {"Cookie": f"clipmill_{port}={token}"}

    def ask(what: str, path: str) -> dict:
        start, cpu = time.perf_counter(), cpu_s(pid)
        connection.request("GET", path, headers=cookie)
        answer = json.loads(connection.getresponse().read())
        if what:
            print(f"{what}: {time.perf_counter() - start:.3f} s, {cpu_s(pid) - cpu:.2f} s of them computing")
        return answer

    ask("first page, while the table is being copied", "/api/clips?size=60")
    print(f"  {time.perf_counter() - began:.2f} s after the start; {memory_mb(pid)}")
    while not ask("", "/api/run")["ready"]:
        time.sleep(0.2)
    waited = time.perf_counter() - began
    print(f"the table is copied {waited:.1f} s after the start, {cpu_s(pid):.1f} s computing; {memory_mb(pid)}")
    ask("first page", "/api/clips?size=60")
    for page in (1, 2, 9000):
        ask(f"page {page}", f"/api/clips?size=60&page={page}")
    ask("sorted by a score", "/api/clips?size=60&sort=-motion")
    ask("its next page", "/api/clips?size=60&sort=-motion&page=1")
    ask("kept, nearest to a threshold", "/api/clips?size=60&outcome=kept&sort=near:motion")
    ask("a word", "/api/clips?size=60&q=flower")
    ask("a threshold moved", "/api/clips?size=60&outcome=kept&t.motion.min=0.05")
    ask("the counts", "/api/facets?t.motion.min=0.05")
    ask("a histogram", "/api/histogram?column=sharpness")
    print(f"in the end: {memory_mb(pid)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)

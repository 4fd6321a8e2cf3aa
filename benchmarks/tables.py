"""Run the benchmarks and put their tables into docs/measured.md, between `<!-- table NAME -->` and `<!-- end NAME -->`;
that of the systems into docs/systems.md.

    python benchmarks/tables.py [--videos ../shared/videos] [--only cuts,speed,...]

Each benchmark is a script of its own that prints Markdown; this one only calls them.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
# Of the experiment: its pools and trainings, and what notebook 06 and `gain_figure.py` read.
WORK, RESULTS = HERE.parent / "demo" / "gain", HERE / "results"


def scripts(videos):
    """table name -> command."""
    return {
        "cuts": ["cuts.py", "--videos", str(videos / "dev")],
        "kinds": ["cut_kinds.py"],
        "demo": ["demo_truth.py"],
        "motion": ["motion.py"],
        "text": ["text_area.py"],
        "speed": ["speed.py", str(videos / "dev")],
        "memory": ["memory.py"],
        "scale": ["scale.py"],
        "goldens": ["goldens.py"],
        "bias": ["fvd_bias.py"],
        "i3d": ["i3d_speed.py"],
        "protocols": ["protocols.py"],
        "extraction": ["extraction.py"],
        "frechet": ["frechet_speed.py"],
        "training": ["demo_training.py"],
        "given": ["given.py"],
        "beside": ["beside_others.py"],
        "settings": [
            "gain_settings.py",
            "--work",
            str(WORK.with_name("gain-settings")),
            "--results",
            str(RESULTS / "gain_settings.json"),
        ],
        "gain": [
            "curation_gain.py",
            "--work",
            str(WORK),
            "--results",
            str(RESULTS / "curation_gain.json"),
        ],
        "calibration": [
            "calibration_curve.py",
            "--work",
            str(WORK),
            "--results",
            str(RESULTS / "calibration_curve.json"),
        ],
        "clip": ["clip_speed.py", "--minutes", "5", "--rounds", "2"],
        "backbones": ["backbone_speed.py", "--threads", "2"],
        "gpu": ["gpu.py", "table"],
        "soak": ["soak.py"],
        "trained": [
            "systems.py",
            "--work",
            str(WORK.with_name("systems")),
            "--results",
            str(RESULTS / "systems.json"),
            "--sheets",
            str(DOCS / "systems"),
        ],
    }


def page_of(name):
    """Where a table stands."""
    return DOCS / ("systems.md" if name == "trained" else "measured.md")


def put_table(page, name, table):
    """Replaces one table of a page. A page without the place for it is an error."""
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page.name} has no place for the table {name!r}")
    page.write_text(pattern.sub(lambda m: f"{m[1]}{table.strip()}\n{m[2]}", text), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=HERE.parents[1] / "shared" / "videos")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    commands = scripts(options.videos)
    chosen = options.only.split(",") if options.only else list(commands)
    for name in chosen:
        script, *arguments = commands[name]
        done = subprocess.run(
            [sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True, check=True
        )
        put_table(page_of(name), name, done.stdout)
        print(f"{name}\n{done.stdout}")
    if {"gain", "calibration"} & set(chosen):
        subprocess.run([sys.executable, str(HERE / "gain_figure.py"), "--work", str(WORK)], check=True)


if __name__ == "__main__":
    main()

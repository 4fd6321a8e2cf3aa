"""Texts that people keep beside their videos: a caption file, a JSON file, and one table for the rest."""

import csv
import json
from pathlib import Path
from typing import Any

from clipmill.curate.demo.plan import VideoPlan

LICENSES = ("CC0-1.0", "CC-BY-4.0", "Apache-2.0")


def _words(video: VideoPlan, rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Title and caption of a video: its name, and the captions of its shots one after another."""
    captions = [row["seen"] for row in rows if row["file"] == video.file and row["row"] == "shot"]
    return Path(video.file).stem.replace("_", " "), " ".join(captions)


def write_sidecars(videos: list[VideoPlan], rows: list[dict[str, Any]], folder: Path) -> None:
    """The first video gets a .txt, the second a .json, three more a line in metadata.csv; the others have no text."""
    title, caption = _words(videos[0], rows)
    (folder / videos[0].file).with_suffix(".txt").write_text(f"{caption}\n", encoding="utf-8")
    title, caption = _words(videos[1], rows)
    record = {"title": title, "caption": caption, "tags": ["synthetic", "sprites"], "license": LICENSES[0]}
    (folder / videos[1].file).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "title", "caption", "tags", "license", "source_url"])
        for video, license_name in zip(videos[2:5], LICENSES, strict=True):
            title, caption = _words(video, rows)
            table.writerow(
                [
                    video.file,
                    title,
                    caption,
                    "synthetic;sprites",
                    license_name,
                    f"https://example.org/{title.replace(' ', '-')}",
                ]
            )

"""Text beside videos: files, tables, and everything that can be wrong with them."""

import csv
import json
import os
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipmill.curate.inputs.sidecars import FIELDS, MAX_TEXT_BYTES, find_sidecar_tables, sidecar_text


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"video")


def write_csv(path, header, *rows, encoding="utf-8", delimiter=","):
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def read(root, name, *roots):
    return sidecar_text(root / name, name, find_sidecar_tables(roots or [root]))


def caption(root, name):
    return read(root, name)[0]["caption"]


def test_nothing_beside(tmp_path):
    make(tmp_path, "a.mp4")
    assert read(tmp_path, "a.mp4") == (dict.fromkeys(FIELDS), [])


def test_text_json_and_table_fill_each_other_nearest_first(tmp_path):
    make(tmp_path, "a.mp4")
    (tmp_path / "a.txt").write_text("\ufeff a red ball\n")
    (tmp_path / "a.json").write_text(
        json.dumps({"caption": "no", "Title": "Ball", "tags": "red; ball,red", "license": None})
    )
    (tmp_path / "a.info.json").write_text(json.dumps({"title": "no", "webpage_url": "https://example.org/a"}))
    write_csv(tmp_path / "metadata.csv", ["file_name", "text", "licence", "url"], ["a.mp4", "no", "CC0", "no"])
    text, warnings = read(tmp_path, "a.mp4")
    assert warnings == []
    assert text == {
        "caption": "a red ball",
        "title": "Ball",
        "tags": ["red", "ball"],
        "license": "CC0",
        "source_url": "https://example.org/a",
    }


@pytest.mark.parametrize("name", ["a.mp4.json", "a.json", "a.info.json"])
def test_json_names_and_loose_values(tmp_path, name):
    make(tmp_path, "a.mp4")
    content = {
        "captions": [None, "  ", 7, "eight"],
        "title": 3.5,
        "keywords": ["x", 2, None, {"no": 1}],
        "license": {"a": 1},
        "url": ["u"],
    }
    (tmp_path / name).write_text(json.dumps([content]))
    assert read(tmp_path, "a.mp4")[0] == {
        "caption": "7",
        "title": "3.5",
        "tags": ["x", "2"],
        "license": None,
        "source_url": "u",
    }


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (b'{"caption": ', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[1, 2]", "no JSON object"),
        (b"[" * 100_000, "not valid JSON"),
        (b'"text"', "no JSON object"),
        (b" " * (MAX_TEXT_BYTES + 1), "larger than 4 MB"),
    ],
)
def test_broken_json_is_a_warning(tmp_path, data, warning):
    make(tmp_path, "a.mp4")
    (tmp_path / "a.json").write_bytes(data)
    (tmp_path / "a.txt").write_text("still here")
    text, warnings = read(tmp_path, "a.mp4")
    assert text["caption"] == "still here"
    assert len(warnings) == 1
    assert warnings[0].startswith("a.json: ")
    assert warning in warnings[0]


def test_encodings(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "a.txt").write_bytes("été".encode("latin-1"))
    (tmp_path / "b.txt").write_bytes("été".encode("utf-16"))
    (tmp_path / "c.json").write_bytes(b'{"caption": "half \\ud83d pair"}')
    assert caption(tmp_path, "a.mp4") == "\ufffdt\ufffd"
    assert caption(tmp_path, "b.mp4") == "été"
    pa.array([caption(tmp_path, "c.mp4")], pa.string())


def test_an_unreadable_sidecar_is_a_warning(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "a.txt").mkdir()
    os.mkfifo(tmp_path / "b.txt")
    assert read(tmp_path, "a.mp4") == (dict.fromkeys(FIELDS), [])
    assert read(tmp_path, "b.mp4") == (dict.fromkeys(FIELDS), [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_csv_dialects(tmp_path, delimiter, encoding):
    make(tmp_path, "a.mp4")
    write_csv(
        tmp_path / "m.csv", ["Path ", "Caption"], ["a.mp4", 'say "x, y;\nz"'], encoding=encoding, delimiter=delimiter
    )
    assert caption(tmp_path, "a.mp4") == 'say "x, y;\nz"'


def test_other_tables(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "m.jsonl").write_text('{"file_name": "a.mp4", "text": "A"}\n\n{"file_name": "b.mp4", "text": ["B"]}\n')
    pq.write_table(
        pa.table({"video": ["c"], "tags": [["x", "y"]], "text": [True], "title": ["C"]}), tmp_path / "m.parquet"
    )
    assert [caption(tmp_path, n) for n in ("a.mp4", "b.mp4", "c.mp4")] == ["A", "B", None]
    assert read(tmp_path, "c.mp4")[0] == dict.fromkeys(FIELDS) | {"tags": ["x", "y"], "title": "C"}


def test_same_names_in_different_folders(tmp_path):
    make(tmp_path, "a.mp4", "x/a.mp4", "y/a.mp4", "y/b.mp4")
    write_csv(
        tmp_path / "m.csv",
        ["file", "caption"],
        ["a.mp4", "top"],
        ["x/a.mp4", "in x"],
        ["y\\a.mp4", "in y"],
        ["b.mp4", "B"],
    )
    names = ["a.mp4", "x/a.mp4", "y/a.mp4", "y/b.mp4"]
    assert [caption(tmp_path, n) for n in names] == ["top", "in x", "in y", "B"]
    assert [read(tmp_path, n)[1] for n in names] == [[], [], [], []]


def test_an_ambiguous_bare_name_matches_nothing_and_says_so(tmp_path):
    make(tmp_path, "x/a.mp4", "y/a.mp4", "y/b.mp4", "y/b.jpg")
    write_csv(tmp_path / "m.csv", ["file", "caption"], ["a.mp4", "whose?"], ["b", "B"], ["gone.mp4", "nobody"])
    for name in ("x/a.mp4", "y/a.mp4"):
        text, warnings = read(tmp_path, name)
        assert text["caption"] is None
        assert warnings == [f"{name}: m.csv: the name 'a.mp4' means 2 files, write their paths"]
    assert caption(tmp_path, "y/b.mp4") == "B"
    write_csv(tmp_path / "y/m.csv", ["file", "caption"], ["a.mp4", "mine"])
    assert caption(tmp_path, "y/a.mp4") == "mine"


def test_rows_that_contradict_each_other(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4")
    write_csv(
        tmp_path / "m.csv",
        ["file", "caption"],
        ["a.mp4", "one"],
        ["a.mp4", "two"],
        ["b.mp4", "same"],
        ["b.mp4", "same"],
    )
    text, warnings = read(tmp_path, "a.mp4")
    assert text["caption"] is None
    assert warnings == ["a.mp4: m.csv: 2 different rows mean this file"]
    assert caption(tmp_path, "b.mp4") == "same"


def test_broken_tables_are_warnings_and_keep_what_was_read(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "numbers.csv").write_text("file,score\na.mp4,1\n")
    (tmp_path / "m.jsonl").write_text(
        '{"file": "a.mp4", "caption": "A"}\n{"file": \n{"file": "b.mp4", "caption": "B"}\n'
    )
    (tmp_path / "z.csv").write_bytes(b"file,title\nb.mp4,T\n" + b"x" * 200_000 + b",y\n")
    tables = find_sidecar_tables([tmp_path])
    assert [w.split(":")[0] for w in tables.warnings] == ["broken.parquet", "m.jsonl", "z.csv"]
    assert caption(tmp_path, "a.mp4") == "A"
    assert read(tmp_path, "b.mp4")[0]["title"] == "T"


def test_names_with_spaces_accents_and_raw_bytes(tmp_path):
    decomposed, raw = unicodedata.normalize("NFD", "été à la mer.mp4"), os.fsdecode(b"b\xff.mp4")
    make(tmp_path, decomposed, raw)
    write_csv(tmp_path / "m.csv", ["file", "caption"], [unicodedata.normalize("NFC", decomposed), "sea"])
    (tmp_path / os.fsdecode(b"b\xff.json")).write_text("{")
    assert caption(tmp_path, decomposed) == "sea"
    warnings = read(tmp_path, raw)[1]
    assert len(warnings) == 1
    assert warnings[0].encode().startswith(b"b\\xff.json")


def test_links_are_followed_once_run_directories_and_hidden_folders_left_alone(tmp_path):
    make(tmp_path, "a.mp4")
    make(tmp_path.parent / f"{tmp_path.name}-elsewhere", "b.mp4")
    (tmp_path / "link").symlink_to(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    write_csv(tmp_path / "m.csv", ["file", "caption"], ["link/b.mp4", "B"])
    for folder in ("run", ".cache"):
        (tmp_path / folder).mkdir()
        write_csv(tmp_path / folder / "m.csv", ["file", "caption"], ["../a.mp4", "no"])
    for name in ("run.json", "run.jsonl"):
        (tmp_path / "run" / name).write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert caption(tmp_path, "a.mp4") is None
    assert caption(tmp_path, "link/b.mp4") == "B"


def test_the_manifest_of_the_real_footage(shared_videos):
    """A real table: its licences reach each video, and its `file` column, shared with other tables, harms nobody."""
    tables = find_sidecar_tables([shared_videos])
    assert tables.warnings == ()
    with open(shared_videos / "MANIFEST.csv", newline="") as file:
        rows = {row["file"]: row["licence"] for row in csv.DictReader(file) if row["set"] == "dev"}
    for name, licence in list(rows.items())[:20]:
        text, warnings = sidecar_text(shared_videos / "dev" / name, name, tables)
        assert (text["license"], warnings) == (licence, [])
        assert text["caption"] is None


def warned(root, *roots):
    return list(find_sidecar_tables(roots or [root]).warnings)


def test_tables_that_match_no_file_or_not_every_row_say_so(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4", "sub/c.mp4")
    write_csv(tmp_path / "captions.csv", ["file", "caption"], ["x.mp4", "one"], ["y.mp4", "two"])
    assert warned(tmp_path) == ["0 of 2 rows of captions.csv match a file; no file here is called 'x.mp4'"]
    (tmp_path / "captions.csv").unlink()
    lines = [{"file_name": n, "text": "words"} for n in ("a.mp4", "b", "gone.mp4")]
    (tmp_path / "meta.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pq.write_table(pa.table({"path": ["sub/c.mp4"], "caption": ["c"], "n": [1]}), tmp_path / "meta.parquet")
    assert warned(tmp_path) == ["2 of 3 rows of meta.jsonl match a file; no file here is called 'gone.mp4'"]
    assert warned(tmp_path, tmp_path / "sub", tmp_path) == warned(tmp_path), "a folder in a folder is read once"
    assert [caption(tmp_path, name) for name in ("a.mp4", "b.mp4", "sub/c.mp4")] == ["words", "words", "c"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_tables_whose_columns_are_not_known_say_so(tmp_path, suffix):
    make(tmp_path, "a.mp4")
    rows = {"videoID": ["a", "b"], "timestamp": ["0", "1"], "caption": ["a dog runs", "a cat"]}
    table = tmp_path / f"panda{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(rows), table)
    elif suffix == ".jsonl":
        table.write_text("\n".join(json.dumps(dict(zip(rows, row, strict=True))) for row in zip(*rows.values())))  # noqa: B905
    else:
        write_csv(table, list(rows), *zip(*rows.values(), strict=True), delimiter="\t" if suffix == ".tsv" else ",")
    (warning,) = warned(tmp_path)
    assert warning.startswith(f"panda{suffix}: no column names a file, so its texts are not used (columns: ")
    assert "file_name" in warning


def test_a_table_without_header_or_with_an_unknown_text_column_says_so(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4")
    write_csv(tmp_path / "plain.csv", ["a.mp4", "a dog runs"], ["b.mp4", "a cat"])
    write_csv(tmp_path / "prompts.csv", ["file", "prompt"], ["a.mp4", "a dog runs"])
    write_csv(tmp_path / "sizes.csv", ["file", "width"], ["a.mp4", "640"])
    write_csv(tmp_path / "other.csv", ["date", "rain"], ["Monday", "much of it"])
    plain, prompts = warned(tmp_path)
    assert plain.startswith("plain.csv: its first line is a row and no header")
    assert prompts.startswith("prompts.csv: it names files, and no column is known to hold their text")


@pytest.mark.parametrize(
    "nothing", ["nan", "NaN", "None", "null", "NULL", "N/A", "<NA>", "\0", "\0\0\0 \0", " nan ", "\x07"]
)
def test_what_programs_write_for_nothing_is_no_caption(tmp_path, nothing):
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "a.txt").write_text(nothing)
    write_csv(tmp_path / "t.csv", ["file", "caption", "title"], ["a.mp4", nothing, nothing], ["b.mp4", nothing, "B"])
    text, warnings = read(tmp_path, "a.mp4")
    assert text == dict.fromkeys(FIELDS)
    assert warnings == []
    assert read(tmp_path, "b.mp4")[0]["title"] == "B"
    assert warned(tmp_path) == []


def test_nul_in_a_caption_is_left_out_and_words_stay(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "a.txt").write_bytes(b"a dog\0 runs\x1b\nand barks")
    (tmp_path / "b.txt").write_text("None of them is a dog; nan bread")
    assert caption(tmp_path, "a.mp4") == "a dog runs\nand barks"
    assert caption(tmp_path, "b.mp4") == "None of them is a dog; nan bread"

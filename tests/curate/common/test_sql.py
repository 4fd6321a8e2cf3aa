"""Conditions in SQL: what they mean, that they read nothing but their table, and that a mistake is one line."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipmill.curate.common import sql
from clipmill.curate.common.sql import connect, rows_where, taken
from clipmill.curate.errors import UserError

SECRET = "what only the file knows"


@pytest.fixture(scope="module")
def clips() -> pa.Table:
    """Four clips with a column of every kind that a run's tables have; the third one knows nothing."""
    captions = pa.list_(pa.struct([("source", pa.string()), ("text", pa.string()), ("sample_weight", pa.float32())]))
    one, two = (
        (lambda text: [{"source": "coca", "text": text, "sample_weight": 0.5}]),
        pa.map_(pa.string(), pa.float64()),
    )
    return pa.table(
        {
            "clip_id": ["a", "b", "c", "d"],
            "motion": pa.array([0.1, 0.5, None, float("nan")], pa.float32()),
            "width": pa.array([512, 100, 600, 700], pa.int32()),
            "source": ["ego", "it's", None, "drone"],
            "keep": [True, False, None, True],
            "nothing": pa.nulls(4),
            "offset": pa.array([1, 2, None, 4], pa.int64()),
            "failed_filters": [[], ["motion"], None, ["motion", "sharpness"]],
            "margins": pa.array([[("motion", 0.2)], [("motion", -0.1)], None, []], two),
            "captions": pa.array([one("a dog"), one("a cat"), None, []], captions),
            "clip_middle": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float16)), 2),
        }
    )


CONDITIONS = [
    ("motion > 0.05 AND width >= 512", "a"),
    ("motion >= 0.1", "ab"),  # float32 against 0.1, as if both were float32
    ("source = 'ego' or source == 'drone'", "ad"),
    ("source = 'it''s'", "b"),
    ("source IN ('ego', 'drone') and not keep", ""),
    ("keep", "ad"),
    ("NOT keep", "b"),
    ("keep = False", "b"),
    ("keep IS NOT TRUE", "bc"),
    ("motion <> 0.1", "b"),  # null, and NaN, are not taken
    ("motion IS NULL", "cd"),
    ("motion IS NOT NULL", "ab"),
    ("width BETWEEN 100 AND 512", "ab"),
    ('"offset" > 1', "bd"),
    ("WIDTH > 600 -- a remark", "d"),
    ("true", "abcd"),
    ("nothing", ""),
    ("list_contains(failed_filters, 'sharpness')", "d"),
    ("len(failed_filters) = 0", "a"),
    ("margins['motion'] < 0", "b"),
    ("captions[1].text LIKE '%cat'", "b"),
    ("len(list_filter(captions, lambda c: c.source = 'coca')) > 0", "ab"),
    ("clip_middle[2] > 2.5", "bcd"),
]


@pytest.mark.parametrize(("condition", "found"), CONDITIONS)
def test_a_condition_takes_the_rows_for_which_it_is_true(clips: pa.Table, condition: str, found: str):
    assert rows_where(clips, condition)["clip_id"].to_pylist() == list(found)
    assert taken(clips, condition).tolist() == [name in found for name in "abcd"]
    assert rows_where(clips.slice(0, 0), condition).num_rows == 0


@pytest.mark.parametrize(("condition", "found"), [c for c in CONDITIONS if "margins" not in c[0]])
def test_a_table_of_pandas_is_asked_the_same_way(clips: pa.Table, condition: str, found: str):
    frame = clips.to_pandas().set_index(pd.Index([7, 7, 8, 9]))
    assert "".join(frame[taken(frame, condition)]["clip_id"]) == found


def test_many_rows_in_many_pieces_keep_their_order():
    n = 300_000
    numbers = pa.chunked_array([np.arange(n)[start : start + 70_000] for start in range(0, n, 70_000)])
    found = rows_where(pa.table({"n": numbers}), "n % 3 = 1")["n"].to_numpy()
    assert np.array_equal(found, np.arange(1, n, 3))


HEX = "hex(" * 40 + "source" + ")" * 40
CAST = "source" + "::BLOB::BIT::VARCHAR" * 3
MANY = "[" + ", ".join(map(str, range(100))) + "]"
HUGE = [
    "len(repeat('x', 4000000000)) > 1",
    "regexp_matches(source, repeat('a', 2000000000))",
    "len(range(1000000000)) > 1",
    "len(generate_series(1, 1000000000)) > 1",
    "len(lpad('x', 2000000000, 'y')) > 1",
    "len(list_resize([1], 2000000000)) > 1",
    "len(printf('%1000000000d', 1)) > 1",
    "sleep_ms(1000000000) IS NULL",
    f"len({HEX}) > 1",
    f"len(replace(source, 'e', '{'e' * 1000}')) > 1",
    f"len({CAST}) > 1",
    f"len(list_transform({MANY}, lambda x: x || x)) > 1",
    f"len(list_filter({MANY}, lambda a: len(list_filter({MANY}, lambda b: a > b)) > 1)) > 1",
]


@pytest.mark.parametrize("condition", HUGE)
def test_a_condition_makes_nothing_huge_and_ends(clips: pa.Table, condition: str):
    began = time.monotonic()
    with pytest.raises(UserError, match=r"is not for conditions|a lambda inside a lambda|it casts to"):
        taken(clips, condition)
    assert time.monotonic() - began < 5


def test_what_takes_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sql, "_MOST_S", 0.3)
    numbers = pa.table({"n": np.arange(3_000_000)})
    with pytest.raises(UserError, match="takes longer than"):
        taken(numbers, " AND ".join(f"list_contains([{k}, n, n + 1], sqrt(n) + {k})" for k in range(200)) + " OR n < 0")


@pytest.mark.parametrize(
    "condition",
    [
        "lower(source) LIKE 'e%' AND length(source) > 1 AND regexp_matches(source, '^e')",
        "abs(motion) > 0.05 AND coalesce(width, 0) % 2 = 0 AND round(motion, 1) BETWEEN 0.1 AND 0.2",
        "contains(source, 'go') AND source[1] = 'e' AND source || 'x' = 'egox' AND width::VARCHAR = '512'",
    ],
)
def test_what_people_ask_with_functions(clips: pa.Table, condition: str):
    assert rows_where(clips, condition)["clip_id"].to_pylist() == ["a"]


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("motoin > 1", "there is no column 'motoin'; did you mean 'motion'?"),
        ("clips.motoin > 1", "there is no column 'motoin'; did you mean 'motion'?"),
        ("zzz = 1", "there is no column 'zzz'; there are: captions, clip_id, "),
        ('source = "ego"', "there is no column 'ego'; a text stands in single quotes, in double quotes a column"),
        ("motion", "it is not true or false but FLOAT"),
        ("motion > 'much'", "Could not convert string 'much' to FLOAT"),
        ("motion >", "syntax error"),
        ("0.1 < motion < 0.5", ""),
        ("motion > 0.1 & width > 3", ""),
        ("motion.notna()", "notna does not exist"),
        (" ", "it is empty"),
        ("keep; DROP TABLE clips", "it is more than one expression"),
        ("keep; SELECT true", "it is more than one expression"),
        ("keep FROM clips", "it is more than one expression"),
        ("keep UNION SELECT true", "it is more than one expression"),
        ("keep LIMIT 1", "it is more than one expression"),
        ("keep AS kept", "it is more than one expression"),
        ("keep, keep", "it is more than one expression"),
        ("true) OR (true", "syntax error"),
        ("EXISTS (SELECT 1)", "it holds a subquery"),
        ("width IN (SELECT 512)", "it holds a subquery"),
        ("width = (FROM duckdb_settings() SELECT 1)", "it holds a subquery"),
        ("COLUMNS(*) > 1", "it holds a *"),
        ("width > $1", "it holds a parameter"),
        ("count(*) > 1", "aggregates"),
        ("row_number() OVER () > 1", "window"),
        ("unnest([true, false])", "UNNEST"),
        ("NOT " * 5000 + "keep", ""),
    ],
)
def test_a_mistake_is_one_line(clips: pa.Table, condition: str, says: str):
    with pytest.raises(UserError) as caught:
        taken(clips, condition)
    assert str(caught.value).startswith(f"the condition {condition!r} does not work: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_of_pandas_that_holds_anything_is_one_line():
    frame = pd.DataFrame({"width": [1, 2], "mixed": [1, "a"]})
    assert taken(frame, "width > 1").tolist() == [False, True], "columns that are not asked about do not matter"
    with pytest.raises(UserError, match="several kinds"):
        taken(frame, "mixed = 1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a secret as text, as a table and as a database."""
    (tmp_path / "secret.csv").write_text(f"secret\n{SECRET}\n")
    pq.write_table(pa.table({"secret": [SECRET]}), tmp_path / "secret.parquet")
    with duckdb.connect(str(tmp_path / "secret.db")) as made:
        made.execute(f"CREATE TABLE secrets AS SELECT '{SECRET}' AS secret")
        made.execute(f"COPY (SELECT '{SECRET}' AS secret) TO '{tmp_path / 'copied.csv'}'")
    assert SECRET in (tmp_path / "copied.csv").read_text(), "an open connection copies to where a closed one must not"
    (tmp_path / "copied.csv").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


STATEMENTS = [
    "SELECT * FROM 'secret.csv'",
    "SELECT * FROM 'secret.parquet'",
    "SELECT * FROM read_csv('secret.csv')",
    "SELECT * FROM read_text('secret.csv')",
    "SELECT * FROM read_blob('secret.csv')",
    "SELECT * FROM sniff_csv('secret.csv')",
    "SELECT * FROM parquet_metadata('secret.parquet')",
    "SELECT * FROM glob('*.csv')",
    "SELECT * FROM frame",  # a Python variable of the caller
    "ATTACH 'secret.db'",
    "ATTACH 'new.db'",
    "COPY clips TO 'out.csv'",
    "COPY clips TO 'out.parquet'",
    "EXPORT DATABASE 'out'",
    "IMPORT DATABASE 'out'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD 'secret.db'",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "SET lock_configuration = false",
    "SET python_enable_replacements = true",
    "SET allowed_directories = ['.']",
    "SET temp_directory = 'out'",
    "PRAGMA enable_profiling",
    "PRAGMA profiling_output = 'out.json'",
    "CREATE PERSISTENT SECRET key (TYPE http, BEARER_TOKEN 'x')",
    "SELECT getenv('HOME')",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_whole_query_reaches_no_file_no_variable_and_no_setting(clips: pa.Table, folder: Path, statement: str):
    frame = pd.DataFrame({"secret": [SECRET]})
    assert len(frame)
    before = sorted(folder.rglob("*"))
    with connect({"clips": clips.drop_columns(["clip_middle"])}) as connection, pytest.raises(duckdb.Error) as caught:
        connection.sql(statement).fetchall()
    assert SECRET not in str(caught.value)
    assert sorted(folder.rglob("*")) == before


def test_the_file_that_is_refused_is_read_by_an_open_connection(folder: Path):
    assert duckdb.sql("SELECT * FROM 'secret.csv'").fetchall() == [(SECRET,)]


@pytest.mark.parametrize(
    "condition",
    [
        "source IN (SELECT secret FROM 'secret.csv')",
        "source = (SELECT content FROM read_text('secret.csv'))",
        "read_text('secret.csv') IS NOT NULL",
        "query('COPY clips TO ''out.csv''') IS NULL",
        "true; COPY clips TO 'out.csv'",
        "true; ATTACH 'new.db'",
        "true; SET enable_external_access = true",
        "true) TO 'out.csv' --",
        "@__import__('os').system('touch out.csv')",
        "__import__('os').system('touch out.csv') == 0",
        "clip_id in @frame",
    ],
)
def test_a_hostile_condition_is_refused_in_one_line_and_leaves_nothing(clips: pa.Table, folder: Path, condition: str):
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError) as caught:
        taken(clips, condition)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(folder.rglob("*")) == before


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """An address that serves the secret, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"secret\n{SECRET}\n".encode())

        do_HEAD = do_GET

        def log_message(self, *arguments: object):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}", asked
        found.shutdown()


def test_nothing_is_asked_of_the_network(clips: pa.Table, server: tuple[str, list[str]]):
    address, asked = server
    with connect({"clips": clips}) as connection:
        for statement in (f"FROM '{address}/secret.csv'", f"FROM read_csv('{address}/secret.csv')"):
            with pytest.raises(duckdb.Error, match="disabled by configuration"):
                connection.sql(statement).fetchall()
        with pytest.raises(duckdb.Error):
            connection.execute(f"INSTALL httpfs FROM '{address}'")
    assert asked == []


def test_a_whole_query_on_the_tables_by_their_names(clips: pa.Table):
    other = pa.table({"clip_id": ["a", "b"], "drawn": [3, 4]})
    with connect({"clips": clips, "draws": other}) as connection:
        rows = connection.sql("SELECT source, drawn FROM clips JOIN draws USING (clip_id) WHERE keep").fetchall()
        embedding = connection.sql("SELECT clip_middle FROM clips").to_arrow_table()["clip_middle"]
    assert rows == [("ego", 3)]
    assert np.array_equal(np.array(embedding.to_pylist()), np.arange(8).reshape(4, 2))

"""Videos over HTTP, in object storage and in lists: fetched once, resumed, refused where they must be, and then as any
other file.
"""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers import object_store
from helpers.commands import contents, curate, invoke, one_line
from helpers.tiny_videos import quick, write_tiny
from helpers.weights_server import WeightsServer, serving

from clipmill.curate.storage import staging

DATA = ("clips", "curves", "frames", "annotations", "decisions")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Three small videos."""
    folder = tmp_path_factory.mktemp("web") / "in"
    for number in range(3):
        write_tiny(folder / f"{number}.mp4", number)
    return folder


@pytest.fixture(scope="module")
def plain(videos: Path) -> Path:
    """What `curate run` makes of them."""
    curate("run", videos, "--out", videos.parent / "plain", *quick())
    return videos.parent / "plain"


@pytest.fixture
def server(videos: Path, tmp_path: Path, monkeypatch):
    """The videos on a server of this machine that may be asked, and a staging folder of one's own."""
    monkeypatch.setenv("CLIPMILL_HOSTS", "127.0.0.1")
    monkeypatch.setenv("CLIPMILL_STAGED", str(tmp_path / "staged"))
    with serving() as found:
        found.files = {f"/v/{path.name}": path.read_bytes() for path in sorted(videos.glob("*.mp4"))}
        yield found


def addresses(server: WeightsServer) -> list[str]:
    return [f"{server.url}{path}" for path in server.files]


def gets(server: WeightsServer) -> list[tuple[str, str | None]]:
    return [(path, wanted) for method, path, wanted in server.log if method == "GET"]


def forget(staged: Path) -> None:
    """Take away the objects, as the quota does, and leave what is known of them."""
    for path in staged.glob("??/*"):
        if not path.suffix:
            path.unlink()


def data(run: Path) -> dict[str, bytes]:
    tars = {name: content for name, content in contents(run / "shards").items() if name.endswith(".tar")}
    return tars | {n: c for n, c in contents(run).items() if n.partition("/")[0] in DATA}


def videos_table(run: Path) -> pd.DataFrame:
    return pq.read_table(run / "videos.parquet").to_pandas().set_index("relpath")


def test_objects_of_a_list_are_fetched_once_and_give_the_bytes_of_files(server, plain: Path, tmp_path: Path):
    run, listed = tmp_path / "run", tmp_path / "list.csv"
    rows = [f"{address},about number {n}" for n, address in enumerate(addresses(server))]
    listed.write_text("\n".join(["place,says", *rows]))
    server.statuses, server.cuts = [503, 503], [1000, 2000]
    words = ("run", listed, "--out", run, "--url-col", "place", "--caption-col", "says", *quick())
    curate(*words)
    whole = [path for path, wanted in gets(server) if wanted is None]
    assert sorted(set(whole)) == sorted(server.files)
    assert server.sent_bytes == sum(map(len, server.files.values())), "what broke off went on by range"
    table = videos_table(run)
    assert list(table["uri"]) == addresses(server)
    assert list(table["caption"]) == [f"about number {n}" for n in range(3)]
    found, expected = data(run), data(plain)
    assert {n: c for n, c in found.items() if not n.endswith(".tar")} == {
        n: c for n, c in expected.items() if not n.endswith(".tar")
    }
    before = len(gets(server))
    forget(tmp_path / "staged")
    said = curate(*words).stdout
    assert "3 of 3 videos are up to date" in said
    assert len(gets(server)) == before, "known by address, size and label"
    curate("annotate", run, "--only", "phash")
    assert list(videos_table(run)["caption"]) == list(table["caption"])


def test_tars_of_objects_are_those_of_files(server, plain: Path, tmp_path: Path):
    curate("run", *addresses(server), "--out", tmp_path / "run", *quick(), "--no-export")
    forget(tmp_path / "staged")
    curate("export", tmp_path / "run")
    shown, tars = (pq.read_table(r / "manifest.parquet").to_pandas() for r in (plain, tmp_path / "run"))
    assert list(tars.sort_values("clip_id")["sha256"]) == list(shown.sort_values("clip_id")["sha256"])


def test_an_object_that_changed_is_another_video_and_one_that_is_away_stays(server, tmp_path: Path):
    run, words = tmp_path / "run", ("--out", tmp_path / "run", *quick(), "--no-export")
    curate("run", *addresses(server), *words)
    before = videos_table(run)
    asked = addresses(server)
    server.files["/v/1.mp4"] = write_tiny(tmp_path / "other.mp4", 9).read_bytes()
    del server.files["/v/2.mp4"]
    said = curate("run", *asked, *words).stdout
    assert "other content than before" in said
    assert "it cannot be fetched: the server says 404" in said
    after = videos_table(run)
    changed = [name for name in before.index if before["sha256"][name] != after["sha256"][name]]
    assert [name.rpartition("/")[2] for name in changed] == ["1.mp4"]


def test_a_staging_folder_keeps_to_its_quota(server, tmp_path: Path, monkeypatch):
    largest = max(map(len, server.files.values()))
    monkeypatch.setenv("CLIPMILL_STAGED_GB", str(1.2 * largest / 1e9))
    curate("run", *addresses(server), "--out", tmp_path / "run", *quick())
    staged = [path for path in (tmp_path / "staged").glob("??/*") if not path.suffix]
    assert sum(path.stat().st_size for path in staged) <= 1.2 * largest
    assert list(videos_table(tmp_path / "run")["status"]) == ["ok"] * 3
    monkeypatch.setenv("CLIPMILL_STAGED_GB", str(0.5 * largest / 1e9))
    with pytest.raises(OSError, match="CLIPMILL_STAGED_GB allows"), staging.at_hand(f"{server.url}/v/0.mp4?new"):
        pass


def test_what_a_list_must_not_name_is_a_row_and_no_request(server, videos: Path, tmp_path: Path, monkeypatch):
    run, listed = tmp_path / "run", tmp_path / "lists" / "list.jsonl"
    write_tiny(tmp_path / "lists" / "own.mp4", 5)
    write_tiny(tmp_path / "outside.mp4", 6)
    hidden = "hunter2"
    places = [
        "own.mp4",
        "../outside.mp4",
        str(tmp_path / "outside.mp4"),
        f"http://me:{hidden}@{server.url[7:]}/v/0.mp4",
        f"{server.url}/v/0.mp4?X-Amz-Signature={hidden}",
        f"{server.url}/v/0.mp4",
    ]
    listed.write_text("\n".join(json.dumps({"path": place}) for place in places))
    monkeypatch.delenv("CLIPMILL_HOSTS")
    said = curate("run", listed, "--out", run, *quick(), "--no-export").stdout
    assert server.log == []
    table = pq.read_table(run / "videos.parquet").to_pandas()
    assert sorted(table["status"]) == ["error"] * 4 + ["ok"]
    reasons = " ".join(table["error_message"].fillna(""))
    assert reasons.count("it lies outside") == 1, "one file, however it is spelt"
    assert "holds a name or password" in reasons
    assert "is signed (X-Amz-Signature)" in reasons
    assert "CLIPMILL_HOSTS=127.0.0.1 allows to ask it" in reasons
    everything = b"".join(contents(run).values()) + said.encode()
    assert hidden.encode() not in everything
    curate("run", listed, "--out", run, *quick(f"inputs.root={tmp_path}"), "--no-export")
    assert "outside.mp4" in " ".join(pq.read_table(run / "videos.parquet")["relpath"].to_pylist())


@pytest.mark.slow
def test_objects_of_a_store_give_the_bytes_of_files(videos: Path, plain: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("CLIPMILL_STAGED", str(tmp_path / "staged"))
    run, place = tmp_path / "run", f"s3://{object_store.BUCKET}/in/"
    with object_store.serving(tmp_path / "server") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = object_store.opened()
        for path in sorted(videos.glob("*.mp4")):
            store.put(f"in/{path.name}", path.read_bytes())
        store.put("in/readme.txt", b"no video")
        store.put("inside.mp4", b"not below the prefix")
        said = curate("run", place, "--out", run, *quick(), "--no-export").stdout
        table = videos_table(run)
        assert list(table["uri"]) == [f"{place}{n}.mp4" for n in range(3)]
        found, expected = data(run), data(plain)
        assert found == {n: c for n, c in expected.items() if not n.endswith(".tar")}
        assert "3 of 3 videos are up to date" in curate("run", place, "--out", run, *quick(), "--no-export").stdout
        store.put("in/1.mp4", write_tiny(tmp_path / "other.mp4", 9).read_bytes())
        assert "other content than before" in curate("run", place, "--out", run, *quick(), "--no-export").stdout
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        said += one_line(invoke("curate", "run", place, "--out", tmp_path / "new"), f"{place[:-1]} cannot be listed")
    everything = b"".join(contents(run).values()) + said.encode()
    assert environment["AWS_SECRET_ACCESS_KEY"].encode() not in everything
    assert environment["AWS_ACCESS_KEY_ID"].encode() not in everything


def test_a_redirect_leads_to_no_private_host(server, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("CLIPMILL_HOSTS", "localhost")
    server.redirects["/away"] = f"{server.url}/v/0.mp4"
    with pytest.raises(OSError, match=r"127\.0\.0\.1 is a host of a private network"):
        staging.facts_of(f"http://localhost:{server.server_port}/away")
    assert [path for _, path, _ in server.log] == ["/away"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("list.csv", "a,b\n1,2\n", "no column that names videos (columns: a, b): --url-col names it"),
        ("list.parquet", "PAR1 and nothing else", "cannot be read as a list"),
        ("list.txt", "\n\n", "no videos in"),
    ],
)
def test_lists_that_are_none_are_one_line(name: str, content: str, says: str, tmp_path: Path):
    (tmp_path / name).write_text(content)
    one_line(invoke("curate", "run", tmp_path / name, "--out", tmp_path / "run"), says)


def test_lists_of_every_kind_name_the_same_files(videos: Path, tmp_path: Path):
    from clipmill.curate.inputs.given import find_given, with_texts
    from clipmill.curate.inputs.sidecars import SidecarTables
    from clipmill.curate.settings.inputs import InputsConfig

    frame = pd.DataFrame({"link": [str(p) for p in sorted(videos.glob("*.mp4"))], "text": ["one", "two", "three"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("\n".join(frame["link"]))
    how = InputsConfig(url_col="link", root=str(videos))
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.txt"):
        columns = how if name != "a.txt" else InputsConfig(root=str(videos))
        found, _ = find_given([tmp_path / name], columns)
        assert [source.relpath for source in found] == ["0.mp4", "1.mp4", "2.mp4"], name
        texts = with_texts(SidecarTables(), [str(tmp_path / name)], columns).texts
        assert [text["caption"] for text in texts.values()] == (["one", "two", "three"] if texts else []), name

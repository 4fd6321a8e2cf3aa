"""Annotators that run after decoding, by the real command: batches over videos, resume, errors that stay where they
are, the cascade.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.commands import LOCAL, curate, invoke, one_line
from helpers.small_clip import EMBED_DIM, write_clip

from clipmill.curate.contract.annotator import ROLES


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a small CLIP and a head for it."""
    folder = tmp_path_factory.mktemp("networks")
    write_clip(folder / "clip")
    torch.save({"weight": torch.linspace(-1, 1, EMBED_DIM)[None], "bias": torch.tensor([5.0])}, folder / "head.pth")
    settings = (
        f"clip.network={folder / 'clip'}",
        f"zero_shot.network={folder / 'clip'}",
        f"aesthetics.head={folder / 'head.pth'}",
    )
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def judged(demo_run: Path, networks: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo run with aesthetics, and so CLIP embeddings. Read-only."""
    run = tmp_path_factory.mktemp("judged") / "run"
    shutil.copytree(demo_run, run)
    curate(
        "annotate",
        run,
        "--only",
        "aesthetics,missed_cut,zero_shot",
        *networks,
        "--set",
        'zero_shot.tags=["dog = a photo of a dog"]',
    )
    return run


def table(run: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(run / "annotations" / name).set_index("clip_id").sort_index()


def events(run: Path) -> list[dict]:
    return [event for line in (run / "run.jsonl").read_text().splitlines() if "pass" in (event := json.loads(line))]


def parts(run: Path, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "annotations" / name).glob("*.parquet")}


def test_embeddings_are_those_of_a_plain_loop_over_the_stored_pictures(judged: Path, networks: list[str]):
    import open_clip

    folder = networks[1].partition("=")[2]
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    network.eval()
    from PIL import Image

    from clipmill.curate.annotation.clip_view import _cut  # the crop box is not this test's matter
    from clipmill.curate.video.picture import decode_picture

    found = table(judged, "clip.v1")
    clips = pd.read_parquet(judged / "manifest.parquet").set_index("clip_id")
    videos = pd.read_parquet(judged / "videos.parquet").set_index("video_id")
    frames = pd.read_parquet(judged / "frames")
    frames = frames[frames["clip_id"].isin(found.index[found["status"] == "ok"])].iloc[::7]
    assert len(frames) > 5
    for row in frames.itertuples():
        clip = clips.loc[row.clip_id]
        video = videos.loc[clip["video_id"]]
        width, height = video["width"], video["height"]
        crop = clip["crop_x"] / width, clip["crop_y"] / height
        crop += (clip["crop_x"] + clip["crop_w"]) / width, (clip["crop_y"] + clip["crop_h"]) / height
        picture = _cut(decode_picture(row.jpeg), crop)
        with torch.no_grad():
            expected = network.encode_image(transform(Image.fromarray(picture))[None], normalize=True)[0].numpy()
        mine = np.asarray(found.loc[row.clip_id, f"clip_embedding_{row.role}"], np.float32)
        np.testing.assert_allclose(mine, expected, atol=2e-3)


def test_embeddings_are_fixed_size_float16(judged: Path):
    path = next((judged / "annotations" / "clip.v1").glob("*.parquet"))
    for role in ROLES:
        kind = pq.read_schema(path).field(f"clip_embedding_{role}").type
        assert pa.types.is_fixed_size_list(kind)
        assert (kind.list_size, kind.value_type) == (EMBED_DIM, pa.float16())


def test_scores_reach_the_manifest_with_their_status_and_docs(judged: Path):
    manifest = pd.read_parquet(judged / "manifest.parquet")
    ok = manifest["score_status"].map(lambda pairs: dict(pairs)["aesthetics"]) == "ok"
    assert ok.any()
    assert manifest.loc[ok, "aesthetics"].between(3, 7).all()
    assert manifest.loc[~ok, "aesthetics"].isna().all()
    assert manifest.loc[ok, "clip_first_similarity"].dropna().between(-1, 1.001).all()
    assert "clip_embedding_first" not in manifest
    docs = json.loads((judged / "run.json").read_text())["column_docs"]
    assert all(
        docs[name] not in ("", name)
        for name in ("aesthetics", "clip_first_similarity", "nsfw_probability", "semantic_rank")
    )
    found = table(judged, "zero_shot.v1")
    tagged = found[found["status"] == "ok"]
    dog = tagged["zero_shot"].map(lambda pairs: dict(pairs)["dog"])
    assert ((dog >= 0.5) == tagged["zero_shot_tags"].map(lambda tags: list(tags) == ["dog"])).all()


def test_aesthetics_follow_from_the_stored_embeddings(judged: Path):
    clip, found = table(judged, "clip.v1"), table(judged, "aesthetics.v1")
    weight = np.linspace(-1, 1, EMBED_DIM, dtype=np.float32)
    for clip_id, row in found[found["status"] == "ok"].iterrows():
        vectors = np.stack([np.asarray(clip.loc[clip_id, f"clip_embedding_{role}"], np.float32) for role in ROLES])
        expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) @ weight + 5
        assert row["aesthetics"] == pytest.approx(expected.mean(), abs=1e-5)
        assert row["aesthetics_middle"] == pytest.approx(expected[1], abs=1e-5)


def test_duplicates_by_meaning_reach_the_manifest_and_a_policy_drops_them(
    judged: Path, networks: list[str], tmp_path: Path
):
    """A random network tells nothing about meaning: the stored embeddings are replaced, one pair alike, the others
    not.
    """
    run = tmp_path / "run"
    shutil.copytree(judged, run)
    before = pd.read_parquet(run / "manifest.parquet")
    kept = before[before["keep"].fillna(False)].drop_duplicates("video_id")["clip_id"].tolist()
    twins = set(kept[:2])
    for path in (run / "annotations" / "clip.v1").glob("*.parquet"):
        found = pq.read_table(path)
        for role in ROLES:
            rows = [planted(clip_id, role, twins) for clip_id in found["clip_id"].to_pylist()]
            at = found.column_names.index(f"clip_embedding_{role}")
            known = zip(rows, found.column(at).is_valid().to_pylist(), strict=True)
            found = found.set_column(
                at, found.field(at), pa.array([row if valid else None for row, valid in known], found.field(at).type)
            )
        pq.write_table(found, path)
    curate("annotate", run, "--only", "missed_cut", *networks[:2])
    manifest = pd.read_parquet(run / "manifest.parquet").set_index("clip_id")
    grouped = manifest[manifest["semantic_group_id"].notna()]
    assert set(grouped.index) == twins
    assert set(grouped["semantic_group_id"]) == {min(twins)}
    assert sorted(grouped["semantic_rank"]) == [0, 1]
    best, other = grouped["semantic_rank"].idxmin(), grouped["semantic_rank"].idxmax()
    assert other == (twins - {best}).pop()
    assert grouped.loc[other, "semantic_of"] == best
    curate("filter", run, "--set", "policy.semantic_rank.max=0", "--set", "policy.semantic_rank.on_error=keep")
    after = pd.read_parquet(run / "manifest.parquet").set_index("clip_id")
    assert set(after.index[after["failed_filters"].map(lambda names: "semantic_rank" in list(names))]) == {other}


def planted(clip_id: str, role: str, twins: set[str]) -> np.ndarray:
    """float16 [32]: a direction of the clip's own, which twins share up to a small difference."""
    own, shared = (
        np.random.default_rng([len(role), *name.encode()]).standard_normal(EMBED_DIM) for name in (clip_id, min(twins))
    )
    return (shared + 0.1 * own if clip_id in twins else own).astype(np.float16)


def test_a_second_command_does_nothing_again_and_worker_count_changes_no_byte(
    judged: Path, networks: list[str], tmp_path: Path
):
    run = tmp_path / "run"
    shutil.copytree(judged, run)
    before = len(events(run))
    curate("annotate", run, "--only", "aesthetics", *networks)
    assert len(events(run)) == before
    shutil.rmtree(run / "annotations" / "clip.v1")
    curate("annotate", run, "--only", "clip", *networks, *LOCAL, "--workers", 2)
    assert parts(run, "clip.v1") == parts(judged, "clip.v1")


def test_a_picture_has_the_same_embedding_in_any_company(networks: list[str]):
    from clipmill.curate.networks.clip import ClipModel

    folder = networks[1].partition("=")[2]
    model = ClipModel(folder, Path(folder), "cpu")
    pictures = list(np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8))
    together = model.pictures(pictures)
    apart = [model.pictures(some) for some in (pictures[:1], pictures[1:20], pictures[20:])]
    assert np.array_equal(np.concatenate(apart), together)
    texts = [f"picture {i}" for i in range(20)]
    assert np.array_equal(np.concatenate([model.texts(texts[:1]), model.texts(texts[1:])]), model.texts(texts))


def test_a_bad_picture_costs_its_clip_and_a_bad_file_is_made_again(demo_run: Path, networks: list[str], tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(demo_run, run)
    files = sorted(
        (p for p in (run / "frames").glob("*.parquet") if pq.read_metadata(p).num_rows > 3), key=lambda p: p.name
    )
    frames = pq.read_table(files[0])
    bad = frames["clip_id"][0].as_py()
    jpegs = [b"no picture" if row["clip_id"] == bad else row["jpeg"] for row in frames.to_pylist()]
    pq.write_table(frames.set_column(frames.column_names.index("jpeg"), "jpeg", pa.array(jpegs, pa.binary())), files[0])
    files[1].write_bytes(b"no table")
    lost = set(pd.read_parquet(run / "clips").query(f"video_id == '{files[1].name.split('-')[0]}'")["clip_id"])
    assert lost
    said = curate("annotate", run, "--only", "missed_cut", *networks).stdout
    assert "frames: 1 damaged part is made again" in said, said
    found = table(run, "clip.v1")
    assert set(found.index) == set(pd.read_parquet(run / "clips")["clip_id"])
    assert found.loc[bad, "status"] == "error"
    assert "not a picture" in found.loc[bad, "error"]
    tried = found[found["status"] != "not_run"]
    assert set(tried.index[tried["status"] == "error"]) == {bad}
    assert table(run, "missed_cut.v1").loc[bad, "status"] == "not_run"
    assert table(run, "missed_cut.v1").loc[bad, "error"].startswith("needs clip: ")


def test_the_cascade_leaves_out_what_a_filter_dropped_and_the_rest_is_filled_later(
    judged: Path, demo_run: Path, networks: list[str], tmp_path: Path
):
    run = tmp_path / "run"
    shutil.copytree(demo_run, run)
    curate("annotate", run, "--only", "aesthetics", *networks, "--lazy")
    found, decided = (
        table(run, "clip.v1"),
        pd.read_parquet(run / "manifest.parquet").set_index("clip_id").loc[table(run, "clip.v1").index],
    )
    dropped = decided["outcome"] == "dropped"
    looked = found["status"] == "ok"
    assert dropped.any()
    assert looked.any()
    assert not (dropped & looked).any()
    left_out = found[(found["status"] == "not_run") & found["error"].fillna("").str.startswith("not in play: ")]
    assert len(left_out) > 0
    assert (left_out["error"].str.removeprefix("not in play: dropped by ") != left_out["error"]).all()
    assert set(left_out.index) | set(found.index[looked]) >= set(found.index[decided["outcome"] == "kept"])
    assert table(run, "aesthetics.v1").loc[left_out.index, "error"].str.startswith("not in play: ").all()
    curate("annotate", run, "--only", "aesthetics", *networks)
    assert (table(run, "clip.v1")["status"] == table(judged, "clip.v1")["status"]).all()
    both = table(run, "aesthetics.v1")["aesthetics"], table(judged, "aesthetics.v1")["aesthetics"]
    np.testing.assert_allclose(*both, atol=1e-3)


def test_a_head_of_another_network_is_one_line(demo_run: Path, networks: list[str], tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(demo_run, run)
    torch.save({"weight": torch.ones(1, 7), "bias": torch.zeros(1)}, tmp_path / "head.pth")
    options = [*networks[:4], "--set", f"aesthetics.head={tmp_path / 'head.pth'}"]
    done = curate("annotate", run, "--only", "aesthetics", *options, check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("curate: ")] == [
        done.stderr.strip().splitlines()[-1]
    ]
    assert "takes 7 numbers" in done.stderr
    assert "Traceback" not in done.stderr


def test_absent_weights_are_one_line_at_once(demo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLIPMILL_OFFLINE", "1")
    monkeypatch.setenv("CLIPMILL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    done = invoke("curate", "annotate", demo_run, "--only", "aesthetics")
    one_line(done, "clip-vit-l-14", "curate weights pull")

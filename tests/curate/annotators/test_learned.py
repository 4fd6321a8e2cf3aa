"""Heads, duplicates by meaning, and calibration subsets: the parts that need no network, or only its numbers."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers.commands import SHARED, curate, invoke, models, one_line

from clipmill.curate import weights
from clipmill.curate.duplicates.semantic import semantic_duplicates
from clipmill.curate.errors import UserError
from clipmill.curate.export.shards import ClipDataset
from clipmill.curate.networks.aesthetic_heads import load_head
from clipmill.curate.networks.clip import ClipModel, embedding_size
from clipmill.curate.settings.dedup import DedupConfig

HEADS = {
    "sa_0_4_vit_b_32_linear.pth": 512,
    "sa_0_4_vit_b_16_linear.pth": 512,
    "sa_0_4_vit_l_14_linear.pth": 768,
    "sac+logos+ava1-l14-linearMSE.pth": 768,
}


def unit(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    vectors = rng.normal(size=(n, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def perceptron(size: int) -> torch.nn.Sequential:
    """LAION's predictor as published: linear layers with dropout between them."""
    sizes = (size, 1024, 128, 64, 16, 1)
    layers: list[torch.nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [torch.nn.Linear(a, b), *([torch.nn.Dropout(0.2)] if i < 3 else [])]
    return torch.nn.Sequential(*layers).eval()


@pytest.mark.parametrize("file", HEADS)
def test_published_heads_agree_with_a_plain_reimplementation(file: str):
    path = SHARED / "weights" / file
    if not path.is_file():
        pytest.skip(f"no {file} in {path.parent} (set CLIPMILL_SHARED)")
    state = torch.load(path, weights_only=True, map_location="cpu")
    plain = (
        torch.nn.Linear(HEADS[file], 1)
        if "linear.pth" in file
        else torch.nn.ModuleDict({"layers": perceptron(HEADS[file])})
    )
    plain.load_state_dict(state)
    vectors = unit(np.random.default_rng(0), 64, HEADS[file])
    with torch.no_grad():
        network = plain if "linear.pth" in file else plain["layers"]
        expected = network(torch.from_numpy(vectors))[:, 0].numpy()
    head = load_head(path)
    assert head.size == HEADS[file]
    np.testing.assert_allclose(head(vectors), expected, atol=2e-5)


def test_a_published_network_embeds_as_open_clip_itself():
    path = weights.find("clip-vit-b-32", {})
    if path is None:
        pytest.skip("no weights of clip-vit-b-32 on this machine (curate weights pull clip-vit-b-32)")
    import open_clip
    from PIL import Image

    network, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=str(path))
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    with torch.no_grad():
        expected = network.eval().encode_image(transform(Image.fromarray(picture))[None], normalize=True).numpy()
    np.testing.assert_allclose(ClipModel("clip-vit-b-32", path, "cpu").pictures([picture]), expected, atol=1e-5)


def test_a_perceptron_of_our_own_agrees_and_other_files_are_refused(tmp_path: Path):
    network = perceptron(32)
    torch.save({f"layers.{name}": tensor for name, tensor in network.state_dict().items()}, tmp_path / "head.pth")
    vectors = unit(np.random.default_rng(1), 16, 32)
    with torch.no_grad():
        expected = network(torch.from_numpy(vectors))[:, 0].numpy()
    np.testing.assert_allclose(load_head(tmp_path / "head.pth")(vectors), expected, atol=1e-6)
    torch.save({"weight": torch.ones(2, 7), "bias": torch.zeros(2)}, tmp_path / "two.pth")
    for name in ("two.pth", "absent.pth"):
        with pytest.raises(UserError):
            load_head(tmp_path / name)


def test_sizes_of_embeddings_are_known_before_anything_heavy_is_loaded():
    assert [embedding_size(name) for name in ("clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14")] == [512, 512, 768]
    with pytest.raises(UserError, match="no network of open_clip"):
        embedding_size("raft-large")


def planted(rng: np.random.Generator, groups: int, size: int, cosine: float) -> tuple[np.ndarray, list[set[int]]]:
    """float32 [N, 3, D]: groups of three whose first is `cosine` near to the others, then single clips, among them
    pairs at 0.85.
    """
    sets, rows = [], []
    for g in range(groups):
        centre = unit(rng, 3, size)
        sets.append({len(rows) + i for i in range(3)})
        for i in range(3):
            others = unit(rng, 3, size)
            others -= (others * centre).sum(axis=1, keepdims=True) * centre
            others /= np.linalg.norm(others, axis=1, keepdims=True)
            near = cosine if g % 2 == 0 or i == 0 else 0.85
            rows.append(centre if i == 0 else near * centre + np.sqrt(1 - near**2) * others)
    rows += [unit(rng, 3, size) for _ in range(groups)]
    return np.stack(rows).astype(np.float32), sets[::2]


@pytest.mark.parametrize("exact_clips", [200_000, 10])
def test_planted_duplicates_by_meaning_are_found_and_nothing_else(exact_clips: int):
    vectors, wanted = planted(np.random.default_rng(2), 60, 48, 0.975)
    ids = [f"{i:04d}" for i in np.random.default_rng(3).permutation(len(vectors))]
    clips = pd.DataFrame({"clip_id": ids, "aesthetics": np.random.default_rng(4).normal(size=len(ids))})
    config = DedupConfig(semantic_similarity=0.95, semantic_keep="aesthetics", semantic_exact_clips=exact_clips)
    found = semantic_duplicates(clips, vectors.astype(np.float16).astype(np.float32), config)
    centres = {
        min(group) for group in wanted
    }  # the first of a group is near to both others, which need not be near to each other
    for group in wanted:
        rows = found.iloc[sorted(group)]
        assert rows["semantic_group_id"].notna().sum() >= 2
    members = {i for group in wanted for i in group}
    assert set(np.flatnonzero(found["semantic_group_id"].notna())) <= members
    for _, group in found[found["semantic_group_id"].notna()].groupby("semantic_group_id"):
        kept = group[group["semantic_rank"] == 0]
        assert len(kept) == 1
        assert clips.loc[kept.index[0], "aesthetics"] == clips.loc[group.index, "aesthetics"].max()
        assert (group.loc[group["semantic_rank"] > 0, "semantic_of"] == kept["clip_id"].iloc[0]).all()
        assert set(group.index) & centres


def test_clips_without_embeddings_are_in_no_group():
    vectors = np.ones((3, 3, 4), np.float32)
    vectors[1] = np.nan
    found = semantic_duplicates(pd.DataFrame({"clip_id": ["a", "b", "c"]}), vectors)
    assert found["semantic_of"].isna().tolist() == [True, True, False]
    assert found["semantic_of"][2] == "a"
    assert found["semantic_rank"].isna().tolist() == [False, True, False]


def test_calibration_writes_nested_subsets_of_one_export_that_train(tiny_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    before = (run / "manifest.parquet").read_bytes()
    done = curate("calibrate", run, "--axis", "motion", "--drop", "25,50")
    assert (run / "manifest.parquet").read_bytes() == before
    root = run / "calibration" / "motion"
    tables = {
        name: pd.read_parquet(root / name / "manifest.parquet").set_index("clip_id")
        for name in ("all", "drop-25", "drop-50")
    }
    scores = pd.read_parquet(run / "manifest.parquet").set_index("clip_id")["motion"].dropna()
    whole = tables["all"]
    assert set(whole.index[whole["keep"].fillna(False).astype(bool)]) == set(scores.index)
    for name, share in (("drop-25", 0.25), ("drop-50", 0.5)):
        assert f"{name}: " in done.stdout
        table = tables[name]
        kept = table["keep"].fillna(False).astype(bool)
        limit = np.sort(scores.to_numpy())[int(share * len(scores))]
        assert set(table.index[kept]) == set(scores.index[scores >= limit])
        assert len(scores) - kept.sum() <= share * len(scores)
        assert (table["shard"].notna() <= kept).all()
        assert (table.loc[kept, "shard"] == whole.loc[table.index[kept], "shard"]).all()
        assert pq.read_table(root / name / "shards.parquet").num_rows > 0
    models(
        "train", root / "drop-50", "--config", "demo-nano", "--out", tmp_path / "ckpt", "--steps", 2, "--device", "cpu"
    )
    seen = pd.concat(pd.read_parquet(p) for p in (tmp_path / "ckpt").rglob("clips.parquet"))["clip_id"]
    curate("calibrate", run, "--axis", "motion", "--drop", "25,50")
    for name, table in tables.items():
        pd.testing.assert_frame_equal(pd.read_parquet(root / name / "manifest.parquet").set_index("clip_id"), table)
        clips = ClipDataset(root / name, "keep", verify=True)
        assert len(clips) == table["shard"].notna().sum()
        assert all(len(clips.read(index)) for index in range(len(clips)))
    assert set(seen) <= set(tables["drop-50"].index[tables["drop-50"]["keep"].fillna(False).astype(bool)])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--axis", "motoin"), "did you mean 'motion'"),
        (("--axis", "camera_direction"), "is no number"),
        (("--axis", "motion", "--drop", "25,x"), "percentages between commas"),
        (("--axis", "motion", "--drop", "0"), "above 0 and below 100"),
        (("--axis", "motion", "--side", "left"), "auto, lowest or highest"),
    ],
)
def test_mistakes_in_a_calibration_are_one_line(demo_run: Path, options: tuple[str, ...], says: str):
    done = invoke("curate", "calibrate", demo_run, *options)
    one_line(done, says)
    assert not (demo_run / "calibration").exists()

"""Every metric: against an independent implementation where there is one, and on videos made worse on purpose."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from helpers.commands import SHARED

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.mmd import polynomial_mmd
from clipmill.evaluate.distances.precision_recall import covered_share
from clipmill.evaluate.features.pixels import PixelValues
from clipmill.evaluate.metrics import FeatureMetric, Metric, PairMetric, VideoMetric, metric_class, names
from clipmill.evaluate.metrics.nearest import Nearest, nearest

FPS = 24.0
ALL = (
    "clip-similarity", "dynamic-degree", "fid", "flicker", "frame-consistency", "fvd", "inception-score", "kid", "kvd",
    "lpips",
    "motion-smoothness", "nearest", "precision", "psnr", "recall", "ssim", "warping-error",
)  # fmt: skip


def features(n: int, seed: int, dim: int = 24, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, dim)) * scale + shift).astype(np.float32)


def texture(seed: int, side_px: int = 400) -> np.ndarray:
    """uint8 [side, side, 3], equal energy per octave."""
    rng, total = np.random.default_rng(seed), np.zeros((side_px, side_px, 3), np.float32)
    for step in (4, 8, 16, 32, 64):
        noise = rng.standard_normal((side_px // step + 3, side_px // step + 3, 3)).astype(np.float32)
        total += cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * total / total.std(), 0, 255).astype(np.uint8)


def moving(speed: float = 0.5, frames: int = 16, seed: int = 0, side_px: int = 128) -> np.ndarray:
    """uint8 [T, side, side, 3]: a window that travels `speed` of its sides per second to the right."""
    picture, step = texture(seed), speed * side_px / FPS
    return np.stack([cv2.getRectSubPix(picture, (side_px, side_px), (90 + k * step, 200)) for k in range(frames)])


def noisy(video: np.ndarray, sigma: float = 12.0) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, video.shape)
    return np.clip(video + noise, 0, 255).astype(np.uint8)


def flickering(video: np.ndarray, by: float = 0.15) -> np.ndarray:
    gain = 1 + by * (-1.0) ** np.arange(len(video))
    return np.clip(video * gain[:, None, None, None], 0, 255).astype(np.uint8)


def swapped(video: np.ndarray) -> np.ndarray:
    """Neighbouring frames exchanged."""
    return video[np.arange(len(video)) ^ 1]


def juddering(video: np.ndarray) -> np.ndarray:
    """Every third frame shown again in place of the next."""
    at = np.arange(len(video))
    return video[at - (at % 3 == 2)]


# --- finding them


def test_every_metric_is_found_by_its_file():
    assert set(ALL) <= set(names())


@pytest.mark.parametrize("name", names())
def test_every_metric_says_what_it_is(name):
    kind = metric_class(name)
    metric = kind()
    assert isinstance(metric, Metric)
    assert metric.title
    assert kind.__doc__


@pytest.mark.parametrize("name", [n for n in names() if issubclass(metric_class(n), FeatureMetric)])
def test_no_metric_calls_itself_fvd(name):
    """The network decides that."""
    title = metric_class(name).title.format(
        features="mini", frechet_name="Fréchet distance (mini)", kernel_name="kernel distance (mini)"
    )
    assert not any(word in title for word in ("FVD", "FID", "KVD", "KID"))


# --- on features


def test_fvd_says_what_it_is_off_by():
    real, fake = features(200, 0), features(180, 1, scale=1.2, shift=0.1)
    score = metric_class("fvd")()(real, fake)
    assert score.value == frechet_distance(real, fake)
    assert score.details["fvd_infinity"] < score.value
    assert 0 < score.standard_error < score.value
    assert score.details["n_fake"] == 180
    assert sum("mostly bias" in w for w in score.warnings) == 2
    assert metric_class("fvd")()(real, fake) == score


def test_fvd_of_eight_clips_works_and_warns():
    real = features(8, 0)
    score = metric_class("fvd")()(real, features(8, 1))
    assert score.standard_error > 0
    assert "fvd_infinity" not in score.details
    assert sum("full rank" in w for w in score.warnings) == 2
    few = metric_class("fvd")()(real[:2], real[2:5])
    assert few.standard_error is None
    assert np.isfinite(few.value)


def test_copied_rows_are_warned_of():
    real = features(50, 0)
    score = metric_class("fvd")()(np.tile(real, (2, 1)), features(100, 1))
    assert any("50 of 100 real feature rows are copies" in w for w in score.warnings)
    assert any("copies" in w for w in metric_class("kvd")()(np.tile(real, (2, 1)), features(100, 1)).warnings)


@pytest.mark.parametrize("name", ["fvd", "kvd", "fid", "kid", "precision", "recall", "inception-score"])
def test_unusable_features_are_one_line(name):
    metric, real = metric_class(name)(), features(50, 0)
    nan = np.where(real > 2, np.nan, real)
    for wrong, says in (
        (nan, "not finite"),
        (real[:0], "at least|needs"),
        (real[:, :5], "dimensions|cannot"),
        (real[0], "shape"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            metric(real, wrong)
        assert "\n" not in str(caught.value)


def test_kvd_estimators():
    real, fake = features(600, 0), features(500, 1, shift=0.2)
    kind = metric_class("kvd")
    full, block, subset = (
        kind()(real, fake),
        kind(method="block", max_block=100)(real, fake),
        kind(method="subset")(real, fake),
    )
    assert full.value == pytest.approx(polynomial_mmd(real, fake), rel=1e-12)
    assert block.value == pytest.approx(full.value, abs=3 * block.standard_error)
    assert subset.value == pytest.approx(full.value, rel=0.05)
    assert subset.standard_error is None
    assert 0.4 < full.standard_error / block.standard_error < 1.5
    jedi = kind(degree=2, coef=0.0, unbiased=False, scale=100.0)(real, fake)
    assert jedi.value == pytest.approx(100 * polynomial_mmd(real, fake, 2, None, 0.0, False), rel=1e-12)


class Flatten(torch.nn.Module):
    """The feature network for torchmetrics: pixels as they are."""

    num_features = 48

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).float()


def frames(n: int, seed: int, mean: float) -> torch.Tensor:
    """uint8 [n, 3, 4, 4]."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.clip(rng.normal(mean, 30, (n, 3, 4, 4)), 0, 255).astype(np.uint8))


def test_fid_kid_and_inception_score_are_those_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = frames(300, 0, 120), frames(300, 1, 135)
    fid = FrechetInceptionDistance(feature=Flatten(), normalize=False).set_dtype(torch.float64)
    kid = KernelInceptionDistance(feature=Flatten(), subsets=1, subset_size=300)
    for peer in (fid, kid):
        peer.update(real, real=True)
        peer.update(fake, real=False)
    ours = [images.flatten(1).float().numpy() for images in (real, fake)]
    assert metric_class("fid")()(*ours).value == pytest.approx(float(fid.compute()), rel=2e-7)
    assert metric_class("kid")(subsets=1)(*ours).value == pytest.approx(float(kid.compute()[0]), rel=1e-4)
    logits = [o / 255 * 8 for o in ours]
    score = InceptionScore(feature=torch.nn.Sequential(Flatten(), Scale()), splits=1)
    score.update(fake)
    found = metric_class("inception-score")(splits=1)(*logits)
    assert found.value == pytest.approx(float(score.compute()[0]), rel=1e-5)
    assert found.details["real"] > 1


class Scale(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels / 255 * 8


def test_inception_score_of_known_classes():
    """Ten classes, each frame sure of one: 10. Every frame the same: 1."""
    sure = np.tile(np.eye(10, dtype=np.float32) * 60, (20, 1))
    metric = metric_class("inception-score")(splits=1)
    assert metric(sure, sure).value == pytest.approx(10, rel=1e-6)
    assert metric(sure, np.ones((50, 10), np.float32)).value == pytest.approx(1, abs=1e-6)
    with pytest.raises(UserError, match="split"):
        metric_class("inception-score")()(sure, sure[:5])


def test_precision_and_recall_by_definition(monkeypatch):
    real, fake = features(70, 0, 6).astype(np.float64), features(90, 1, 6, scale=1.3).astype(np.float64)

    def brute(reference, points, k):
        within = np.linalg.norm(reference[:, None] - reference, axis=2)
        radius = np.sort(within, axis=1)[:, k]
        return (np.linalg.norm(points[:, None] - reference, axis=2) <= radius).any(axis=1).mean()

    for k in (1, 3, 5):
        assert metric_class("precision")(k=k)(real, fake).value == brute(real, fake, k)
        assert metric_class("recall")(k=k)(real, fake).value == brute(fake, real, k)
    monkeypatch.setattr("clipmill.evaluate.distances.precision_recall._BLOCK_ROWS", 16)
    assert covered_share(real, fake) == brute(real, fake, 3)
    assert covered_share(real + 1e6, fake + 1e6) == brute(real, fake, 3)


def test_a_collapsed_generator_keeps_precision_and_loses_recall():
    real = features(400, 0, 8)
    fake = real[:1] + 0.01 * features(400, 1, 8)
    assert metric_class("precision")()(real, fake).value > 0.9
    assert metric_class("recall")()(real, fake).value < 0.05
    assert metric_class("recall")()(real, real).value == 1
    assert metric_class("precision")()(real, real + 100).value == 0


# --- on single videos


def test_flicker_is_the_published_definition():
    video = moving()
    expected = (255 - np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairwise(video)])) / 255
    assert metric_class("flicker")()(video, FPS) == pytest.approx(expected, rel=1e-12)
    assert metric_class("flicker")()(np.repeat(video[:1], 5, axis=0), FPS) == 1


@pytest.mark.parametrize("worse", [noisy, flickering])
@pytest.mark.parametrize("name", ["flicker", "motion-smoothness", "warping-error"])
@pytest.mark.parametrize("seed", [0, 1])
def test_worse_videos_score_worse(name, worse, seed):
    metric = metric_class(name)()
    good, bad = metric(moving(seed=seed), FPS), metric(worse(moving(seed=seed)), FPS)
    assert good > bad if metric.higher_is_better else good < bad


@pytest.mark.parametrize("worse", [swapped, juddering])
def test_broken_order_and_judder_are_not_smooth(worse):
    metric = metric_class("motion-smoothness")()
    for seed in range(3):
        video = moving(1.0, seed=seed)
        assert 1 - metric(worse(video), FPS) > 2 * (1 - metric(video, FPS))


def test_warping_error_follows_motion_and_grows_with_noise():
    metric = metric_class("warping-error")()
    still, fast = metric(moving(0.0), FPS), metric(moving(1.0), FPS)
    assert still == pytest.approx(0, abs=1e-6)
    unwarped = np.mean(np.square(np.diff(moving(1.0) / 255.0, axis=0)).sum(axis=3))
    assert fast < 0.05 * unwarped
    noise = [metric(noisy(moving(1.0), sigma), FPS) for sigma in (4, 8, 16)]
    assert fast < noise[0] < noise[1] < noise[2]


@pytest.mark.parametrize("speed", [0.1, 0.3, 0.6])
def test_dynamic_degree_is_the_speed(speed):
    assert metric_class("dynamic-degree")()(moving(speed, 19), FPS) == pytest.approx(speed, rel=0.1)


def test_dynamic_degree_knows_what_it_cannot_know():
    metric = metric_class("dynamic-degree")()
    assert np.isnan(metric(moving(), float("nan")))
    assert np.isnan(metric(np.zeros((16, 64, 64, 3), np.uint8), FPS))
    assert metric(moving(0.0), FPS) == pytest.approx(0, abs=1e-3)
    assert metric(moving(0.3, 4), FPS) == pytest.approx(0.3, rel=0.15)


OF_VIDEOS = [n for n in names() if issubclass(metric_class(n), VideoMetric) and n != "frame-consistency"]


@pytest.mark.parametrize("name", OF_VIDEOS)
@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (2, 5, 90, 3), (3, 33, 17, 3)])
def test_odd_videos_are_measured_or_nan(name, shape):
    video = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    before = video.copy()
    value = metric_class(name)()(video, FPS)
    assert np.isnan(value) or np.isfinite(value)
    assert np.isnan(value) or shape[0] > 1
    assert np.array_equal(video, before)


# --- on pairs


def test_psnr_of_known_error():
    real = np.full((3, 20, 30, 3), 100, np.uint8)
    assert metric_class("psnr")()(real, real + np.uint8(10)) == pytest.approx(20 * np.log10(255 / 10), rel=1e-5)
    fake = real.copy()
    fake[0] += 10
    fake[1] += 20
    fake[2] += 30
    of_all = 10 * np.log10(255**2 / np.mean([e**2 for e in (10, 20, 30)]))
    assert metric_class("psnr")()(real, fake) == pytest.approx(of_all, rel=1e-5)
    fake[0] = real[0]
    one_equal = 10 * np.log10(255**2 / np.mean([e**2 for e in (0, 20, 30)]))
    assert metric_class("psnr")()(real, fake) == pytest.approx(one_equal, rel=1e-5)
    assert metric_class("psnr")()(real, real) == np.inf


def test_ssim_is_the_published_formula(monkeypatch):
    from scipy.ndimage import gaussian_filter

    def blurred(picture):
        return gaussian_filter(picture, (1.5, 1.5, 0), truncate=3.5, mode="mirror")

    def ssim(a, b):
        mean_a, mean_b = blurred(a), blurred(b)
        variances = blurred(a * a) - mean_a**2 + blurred(b * b) - mean_b**2
        covariance = blurred(a * b) - mean_a * mean_b
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        return (
            (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
        ).mean()

    real = moving(frames=3)
    fake = noisy(real)
    expected = np.mean([ssim(a, b) for a, b in zip(real.astype(float), fake.astype(float), strict=True)])
    assert metric_class("ssim")()(real, fake) == pytest.approx(expected, abs=1e-5)
    assert metric_class("ssim")()(real[:1], real[:1]) == pytest.approx(1)
    monkeypatch.setattr("clipmill.evaluate.frames.frame_pairs.frame_batches.__defaults__", (1,))
    assert metric_class("ssim")()(real, fake) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_reconstructions_rank(name):
    metric, real = metric_class(name)(), moving(frames=3)
    found = [metric(real, noisy(real, sigma)) for sigma in (4, 12, 30)]
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize("name", [n for n in names() if issubclass(metric_class(n), PairMetric)])
def test_pairs_of_differing_shape_are_one_line(name, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPMILL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as caught:
        metric_class(name)()(moving(frames=3), moving(frames=2))
    assert "\n" not in str(caught.value)


def test_ssim_of_tiny_pictures_is_one_line():
    with pytest.raises(UserError, match="11 px"):
        metric_class("ssim")()(np.zeros((2, 10, 40, 3), np.uint8), np.zeros((2, 10, 40, 3), np.uint8))


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """net -> file with random weights, as torchvision would store the trained ones."""
    import torchvision

    torch.manual_seed(0)
    folder, made = tmp_path_factory.mktemp("backbones"), {}
    for net, name in (("alex", "alexnet"), ("squeeze", "squeezenet1_1")):
        made[net] = folder / f"{name}.pth"
        stored = getattr(torchvision.models, name)(weights=None).state_dict()
        torch.save({key: value for key, value in stored.items() if key.startswith("features.")}, made[net])
    return made


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_on_a_backbone_file(backbones, net):
    metric, real = (
        metric_class("lpips")(net=net, backbone=str(backbones[net]), any_backbone=True),
        moving(frames=2, side_px=64),
    )
    assert metric(real, real) == 0
    found = [metric(real, noisy(real, sigma)) for sigma in (4, 12, 40)]
    assert 0 < found[0] < found[1] < found[2]
    stored = torch.load(backbones[net], weights_only=True)
    for name, mine in metric._network.net.state_dict().items():
        assert torch.equal(mine, stored["features." + name.split(".", 2 if net == "squeeze" else 1)[-1]])


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_has_the_published_heads(backbones, net):
    path = SHARED / "weights" / f"lpips_v0.1_{net}.pth"
    if not path.is_file():
        pytest.skip(f"no published heads at {path}")
    network = metric_class("lpips")(net=net, backbone=str(backbones[net]), any_backbone=True)._network
    heads = torch.load(path, map_location="cpu", weights_only=True)
    mine = network.state_dict()
    assert heads
    assert all(torch.equal(mine[name], value) for name, value in heads.items())


def test_lpips_without_its_weights_is_one_line(backbones, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPMILL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    real = moving(frames=2)
    for metric, says in (
        (metric_class("lpips")(), "put alexnet-owt-7be5be79.pth into"),
        (metric_class("lpips")(backbone=str(backbones["alex"])), "sha256"),
        (metric_class("lpips")(backbone=str(backbones["squeeze"]), any_backbone=True), "holds no alex backbone"),
        (metric_class("lpips")(net="resnet"), "knows the backbones"),
    ):
        with pytest.raises(UserError, match=says):
            metric(real, real)


# --- with CLIP


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """An architecture of open_clip's, small, with random weights in a file: the metric's parameters for it."""
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    (folder / "tiny-for-metrics.json").write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(folder / "tiny-for-metrics.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-for-metrics").state_dict(), folder / "weights.pt")
    return {"model": "tiny-for-metrics", "pretrained": "none", "weights": str(folder / "weights.pt")}


def test_frame_consistency_falls_where_frames_differ(tiny_clip):
    metric = metric_class("frame-consistency")(**tiny_clip)
    still = np.repeat(moving(frames=1), 6, axis=0)
    mixed = np.concatenate([moving(frames=3), moving(frames=3, seed=4)])
    assert metric(still, FPS) == pytest.approx(1, abs=1e-6)
    assert metric(mixed, FPS) < metric(moving(frames=6), FPS) < 1
    assert np.isnan(metric(still[:1], FPS))


def test_clip_similarity_is_the_mean_cosine(tiny_clip):
    import open_clip

    metric, video = metric_class("clip-similarity")(**tiny_clip), moving(frames=3, side_px=32)
    model = open_clip.create_model("tiny-for-metrics", pretrained=tiny_clip["weights"]).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    with torch.inference_mode():
        image = model.encode_image((torch.from_numpy(video).movedim(-1, 1) / 255 - mean) / std, normalize=True)
        text = model.encode_text(open_clip.get_tokenizer("tiny-for-metrics")(["a red ball"]), normalize=True)
    assert metric(video, "a red ball") == pytest.approx(float((image @ text.T).mean()), abs=1e-5)
    assert metric(video, "a blue house") != metric(video, "a red ball")


# Nearest clip


def test_the_nearest_clip_is_found_whatever_the_blocks_and_its_difference_is_of_pixels():
    rng = np.random.default_rng(0)
    real, fake = rng.random((600, 12)), rng.random((300, 12))
    wanted = np.sqrt(np.square(fake[:, None] - real).mean(axis=2)).min(axis=1)
    np.testing.assert_allclose(nearest(real, fake), wanted, rtol=1e-5)
    score = Nearest()(real, np.concatenate([real[:3], real[:3] + 0.5, real[:3] + 0.5]))
    assert score.value > 0.1
    assert score.details["quarter"] == 0
    pixels = PixelValues()
    clip = torch.rand(1, 4, 3, 32, 32)
    moved = clip + torch.tensor([0.0, 0.2, -0.2, 0.0]).view(1, 4, 1, 1, 1)
    found = nearest(pixels(clip).numpy(), pixels(moved).numpy())
    np.testing.assert_allclose(found, [0.2 * np.sqrt(0.5)], rtol=1e-4)
    with pytest.raises(UserError, match="neither weights nor options"):
        PixelValues(bn_eps=1.0)

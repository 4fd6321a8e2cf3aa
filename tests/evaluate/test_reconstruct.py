"""`evaluate reconstruct`: what is lost, and in which frame."""

import json

import numpy as np
import pytest
from helpers.commands import evaluate
from helpers.textures import moving, noisy
from scipy.ndimage import gaussian_filter, zoom
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from clipmill.evaluate.frames.per_frame import per_frame, positions, psnr_of
from clipmill.evaluate.metrics import metric_class


def decoded(real: np.ndarray, bad: int = 5) -> np.ndarray:
    """Slightly noisy everywhere, and much so in one frame."""
    fake = noisy(real, 4)
    fake[:, bad] = noisy(real[:, bad], 40)
    return fake


def test_a_frame_is_measured_as_others_measure_it():
    real = moving(2, 1, frames=4)
    fake = decoded(real, 2)
    found = np.stack([per_frame(a, b) for a, b in zip(real, fake, strict=True)])
    each = positions(found.reshape(2, -1))
    for t in range(4):
        errors = [np.square(real[i, t].astype(float) - fake[i, t]).mean() for i in range(2)]
        assert found[:, 0, t] == pytest.approx(errors, rel=1e-5)
        known = [
            structural_similarity(
                real[i, t], fake[i, t], gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                channel_axis=2, full=True, data_range=255,
            )[1].mean()
            for i in range(2)
        ]  # fmt: skip
        assert found[:, 1, t] == pytest.approx(known, abs=0.005)  # their pictures go on beyond the border otherwise
        assert each.psnr[t] == pytest.approx(peak_signal_noise_ratio(real[:, t], fake[:, t], data_range=255), abs=1e-4)
    change = [np.abs(np.diff(v[0].astype(float), axis=0)).mean((1, 2, 3)) for v in (real, fake)]
    assert found[0, 2] == pytest.approx([0, *(change[1] - change[0])], abs=1e-9)
    assert psnr_of(each.psnr) == pytest.approx(peak_signal_noise_ratio(real, fake, data_range=255), abs=1e-4)
    assert each.worst == 2


def test_ms_ssim_is_the_published_formula():
    small = moving(1, 3, frames=1)[0, 0].astype(float)
    real = np.clip(zoom(small, (3, 3, 1), order=1), 0, 255).astype(np.uint8)
    fake = noisy(real, 25)
    a, b, found = real / 255.0, fake / 255.0, 1.0
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    for size, weight in enumerate(weights):
        mean = [blurred(x) for x in (a, b)]
        spread = blurred(a * a) - mean[0] ** 2 + blurred(b * b) - mean[1] ** 2
        shared = blurred(a * b) - mean[0] * mean[1]
        part = (2 * shared + 0.03**2) / (spread + 0.03**2)
        if size == len(weights) - 1:
            part = part * (2 * mean[0] * mean[1] + 0.01**2) / (mean[0] ** 2 + mean[1] ** 2 + 0.01**2)
        else:
            part = part[5:-5, 5:-5]
        found *= part.mean() ** weight
        a, b = (x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, 3).mean((1, 3)) for x in (a, b))
    assert metric_class("ms-ssim")()(real[None], fake[None]) == pytest.approx(found, abs=2e-5)
    assert metric_class("ms-ssim")()(real[None], real[None]) == pytest.approx(1, abs=1e-5)


def blurred(picture: np.ndarray) -> np.ndarray:
    return gaussian_filter(picture, (1.5, 1.5, 0), truncate=3.5, mode="mirror")


@pytest.mark.slow
def test_a_planted_error_is_found_in_its_frame(tmp_path):
    real = moving(9, 1)
    for name, videos in (("real", real), ("fake", decoded(real))):
        np.save(tmp_path / f"{name}.npy", videos)
    out = tmp_path / "table.json"
    said = evaluate(
        *("reconstruct", tmp_path / "real.npy", tmp_path / "fake.npy", "--features", "mini", "--cache", tmp_path),
        *("--chunk", 4, "--out", out),
    ).stdout
    assert "the worst frame is 5" in said
    assert "  first frames of chunks of 4: " in said
    assert "not computed: ms-ssim: MS-SSIM needs pictures of at least 176 px" in said
    assert "rFVD" not in said
    assert "Fréchet distance (mini)" in said
    table = json.loads(out.read_text())
    assert int(np.argmin(table["frames"]["psnr"])) == 5
    assert psnr_of(np.array(table["frames"]["psnr"])) == pytest.approx(table["scores"]["psnr"]["value"], abs=0.2)
    assert table["frames"]["flicker"][5] > 10 > table["frames"]["flicker"][3]

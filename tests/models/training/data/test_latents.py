"""Cached latents are those of the clips' bytes, and what is damaged is encoded again."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.config import load
from clipmill.models.processes import Processes
from clipmill.models.stop_signals import StopAsked
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.buckets import Bucket
from clipmill.models.training.data.encoding import Encoding
from clipmill.models.training.data.latents import LatentCache, cache_key
from clipmill.models.training.data.windows import Window

OLD_KEY = "adc603b1206c24e0"


class Noise:
    """Windows of three clips, each of one colour, whose files have these contents."""

    def __init__(self, colours: tuple[int, ...]) -> None:
        self.colours, self.reads = colours, 0
        self.config = replace(load("demo").data, windows=1, cache="latents")
        self.buckets = (Bucket(2, 8, 8, 8.0, tuple(range(len(colours))), 1),)
        self.places = [{row: row for row in range(len(colours))}]

    def __getitem__(self, draw: Draw) -> Window:
        self.reads += 1
        video = torch.full((2, 3, 8, 8), self.colours[draw.row], dtype=torch.uint8)
        return Window(draw.row, video, None, self.clip_id(draw.row), 0, "", 8.0)

    def clip_id(self, row: int) -> str:
        return f"clip{row}"

    def content(self, row: int) -> str:
        return f"{self.colours[row]:032x}"

    def number(self, draw: Draw) -> int:
        return 0

    def caption(self, row: int, epoch: int) -> str:
        return ""


def encode(video: torch.Tensor) -> Posterior:
    return Posterior(video, torch.zeros_like(video))


def filled(folder, windows: Noise, said: list[str]) -> LatentCache:
    cache = LatentCache(folder, windows, said.append)
    processes = Processes(0, 1, torch.device("cpu"))
    encoding = Encoding(SimpleNamespace(encode=encode), FramesConfig())
    cache.fill(encoding, processes.device, processes, lambda *_: None, StopAsked())
    return cache


def test_a_clip_exported_anew_under_its_name_is_encoded_again(tmp_path):
    first = filled(tmp_path, Noise((0, 100, 200)), [])
    again = Noise((0, 50, 200))
    second = filled(tmp_path, again, [])
    assert again.reads == 1, "the others are kept"
    draw = Draw(0, 1, 0, 0)
    assert not torch.equal(first[draw].latents.mean, second[draw].latents.mean)
    kept = Noise((0, 50, 200))
    assert torch.equal(filled(tmp_path, kept, [])[draw].latents.mean, second[draw].latents.mean)
    assert kept.reads == 0


@pytest.mark.parametrize("how", ["empty", "cut", "flip", "header"])
def test_damaged_latents_are_encoded_again_and_said(tmp_path, how):
    said: list[str] = []
    before = filled(tmp_path, Noise((0, 100, 200)), said)[Draw(0, 1, 0, 0)].latents.mean
    (shard,) = tmp_path.glob("*.safetensors")
    data = shard.read_bytes()
    flipped = data[:-5] + bytes([data[-5] ^ 16]) + data[-4:]
    shard.unlink()  # the old one is still mapped
    shard.write_bytes({"empty": b"", "cut": data[:99], "flip": flipped, "header": b"\xff" * 8 + data[8:]}[how])
    os.utime(shard, ns=(10**18, 10**18))
    windows = Noise((0, 100, 200))
    assert not said
    assert torch.equal(filled(tmp_path, windows, said)[Draw(0, 1, 0, 0)].latents.mean, before)
    assert windows.reads == 3
    assert len(said) == 1
    assert "1 damaged files of cached latents" in said[0]
    assert shard.read_bytes() == data


def test_a_cache_is_of_what_is_given_where_that_lies_in_it():
    data = load("demo").data
    plain = cache_key("abc", data, 3, FramesConfig())
    assert plain == OLD_KEY, "caches of before are found again"
    assert plain == cache_key("abc", data, 3, FramesConfig("masks", backward=0.2)), "frames are chosen afterwards"
    low = cache_key("abc", data, 3, FramesConfig("low"))
    assert low == cache_key("abc", data, 3, FramesConfig("low", drop=0.5, perturbation="uniform", blur_px=2.0))
    edges, blur = (FramesConfig("structure", structure=kind) for kind in ("edges", "blur"))
    others = (FramesConfig("low", space=4), FramesConfig("low", time=2), edges, blur, replace(blur, blur_px=2.0))
    keys = {cache_key("abc", data, 3, frames) for frames in others}
    assert len(keys | {plain, low}) == len(others) + 2

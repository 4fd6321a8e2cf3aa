"""Pictures, clips and pairs per second of the networks that curation and evaluation read with: I3D, CLIP and RAFT, with
random weights of the same classes (time does not depend on them).
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _gpu_bench import Bench, Skipped, fitting, peak_memory, timed

from clipmill.evaluate.features.i3d_random import seeded_variables
from clipmill.evaluate.networks.i3d import I3DNetwork, features

ARRANGEMENTS = {
    "ours": {"folded": True, "channels_last": True},
    "batch norm folded": {"folded": True, "channels_last": False},
    "plain": {"folded": False, "channels_last": False},
}
# Largest difference of features of one clip, of the largest feature, from the CPU's.
I3D_TOLERANCE = 1e-4
CLIPS = ("ViT-B-32", "ViT-L-14")
NEEDS_S = 15


def run(bench: Bench) -> None:
    variables = seeded_variables(0)
    if bench.size != "tiny":
        bench.case("I3D: parity", NEEDS_S, partial(_i3d_parity, variables, bench))
    for name, arrangement in list(ARRANGEMENTS.items())[: bench.pick(None, None, 1)]:
        bench.case(
            f"I3D, {name}", NEEDS_S, partial(fitting, bench.pick(32, 1), partial(_i3d, variables, arrangement, bench))
        )
    for name in CLIPS[: bench.pick(None, 1)]:
        for bf16 in (False, True)[: bench.pick(None, 1)]:
            title = f"CLIP {name}, {'bf16' if bf16 else 'float32'}"
            bench.case(title, NEEDS_S, partial(_clip, name, bf16, bench))
    bench.case("RAFT large, 800x450", NEEDS_S, partial(_raft, bench))


def _i3d_parity(variables, bench: Bench) -> dict:
    clips = torch.rand(1, 9, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    here = features(I3DNetwork(variables), clips)
    there = features(I3DNetwork(variables).to(bench.device), clips.to(bench.device)).cpu()
    apart = ((there - here).abs().max() / here.abs().max()).item()
    return {"largest_difference": apart, "within": apart <= I3D_TOLERANCE}


def _i3d(variables, arrangement, bench: Bench, batch: int) -> dict:
    """Clips of 16 frames; true float32, as distances are computed with."""
    network, facts = I3DNetwork(variables, **arrangement).to(bench.device), {}
    clips = torch.rand(batch, bench.pick(16, 9), 3, 224, 224, device=bench.device) * 2 - 1
    with peak_memory(bench, facts):
        facts |= timed({"clips": lambda: features(network, clips)}, bench)["clips"]
    return facts | {"per_s": 1000 * batch / facts["ms"], "unit": "clips", "frames": clips.shape[1], "dtype": "float32"}


def _clip(name: str, bf16: bool, bench: Bench) -> dict:
    """Pictures that are on the device already, 64 at a time, as `evaluate` sends them."""
    encode, side, source = clip_network(name, bench)
    batch, facts = bench.pick(64, 2), {}
    pictures = torch.randn(batch, 3, side, side, device=bench.device)
    with torch.inference_mode(), bench.autocast(bf16), peak_memory(bench, facts):
        facts |= timed({"pictures": lambda: encode(pictures)}, bench)["pictures"]
    found = {"per_s": 1000 * batch / facts["ms"], "unit": "pictures", "batch": batch, "network": source}
    return facts | found | {"dtype": "bfloat16" if bf16 else "float32"}


def clip_network(name: str, bench: Bench):
    """(pictures -> embeddings, side in px, whose class). open_clip's, which clipmill uses; transformers' without it."""
    try:
        import open_clip

        network = open_clip.create_model(name, pretrained=None).to(bench.device).eval()
        return partial(network.encode_image, normalize=True), 224, "open_clip"
    except ImportError as error:
        reason = str(error)
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise Skipped(f"neither open_clip ({reason}) nor transformers ({error}) imports") from error
    sizes = {"ViT-B-32": (768, 3072, 12, 12, 32, 512), "ViT-L-14": (1024, 4096, 24, 16, 14, 768)}[name]
    keys = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "patch_size",
        "projection_dim",
    )
    network = CLIPVisionModelWithProjection(CLIPVisionConfig(**dict(zip(keys, sizes, strict=True)))).to(bench.device)
    return lambda pictures: network.eval()(pictures).image_embeds, 224, "transformers"


def _raft(bench: Bench) -> dict:
    """curate's own class, from pictures on the CPU to flow on the CPU, in its portions of pairs."""
    try:
        from torchvision.models.optical_flow import raft_large, raft_small
    except (ImportError, RuntimeError) as error:
        raise Skipped(f"torchvision does not import ({error})") from error
    from clipmill.curate.networks.raft import Raft

    height, width, count = bench.pick((450, 800, 8), (128, 128, 1))
    rng = np.random.default_rng(0)
    pairs = [tuple(rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)) for _ in range(count)]
    facts: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raft.pth"
        torch.save((raft_large if bench.full else raft_small)(weights=None).state_dict(), path)
        raft = Raft(path, str(bench.device))
    with peak_memory(bench, facts):
        facts |= timed({"pairs": lambda: raft(pairs)}, bench, 1)["pairs"]
    return facts | {
        "per_s": 1000 * count / facts["ms"],
        "unit": "pairs",
        "picture": f"{width}x{height}",
        "dtype": "float32",
    }

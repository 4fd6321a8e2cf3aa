"""Small networks of open_clip's own classes with seeded random weights, in open_clip's folder form."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

EMBED_DIM = 32
CONFIG = {
    "model_cfg": {
        "embed_dim": EMBED_DIM,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
}


def write_clip(folder: Path, embed_dim: int = EMBED_DIM, seed: int = 0) -> Path:
    """A CLIP of some hundred thousand parameters (and a table of words)."""
    import open_clip

    config = json.loads(json.dumps(CONFIG))
    config["model_cfg"]["embed_dim"] = embed_dim
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = open_clip.CLIP(**config["model_cfg"])
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    return folder

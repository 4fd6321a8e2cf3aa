"""A small CoCa of open_clip's own class with seeded random weights, in open_clip's folder form."""

import json
from pathlib import Path

import torch
from helpers.small_clip import CONFIG
from safetensors.torch import save_file

TEXT = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
COCA = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": CONFIG["model_cfg"]["vision_cfg"]
        | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": TEXT | {"layers": 2, "attn_pooler_heads": 2},
        "custom_text": True,
    },
    "preprocess_cfg": CONFIG["preprocess_cfg"],
}


def write_coca(folder: Path, seed: int = 0) -> Path:
    """Its picture's features are blown up, so that other pictures give other words."""
    import open_clip

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(COCA))
    config = {key: value for key, value in COCA["model_cfg"].items() if key != "custom_text"}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = open_clip.CoCa(**config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.startswith("visual.attn_pool") or "cross_attn" in name:
                    parameter.mul_(20.0)
                if name == "text_decoder.text_projection":
                    parameter.normal_(std=1.0)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    return folder

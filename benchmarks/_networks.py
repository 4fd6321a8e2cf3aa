"""The networks among which `gain_settings.py` chooses, and those that `curation_gain.py` trains: settings over those of
the preset `demo`.
"""

# Blocks of 8 px and all 8 frames: of clips that they were not found in they keep the distance and 0.9 of the motion,
# where components of whole windows keep no motion at all.
_BLOCKS = (
    "autoencoder.options.space_factor=8",
    "autoencoder.options.components=192",
    "train.learning_rate=3e-3",
    "train.ema_std=[0.05]",
    "sample.steps=25",
)
_WHOLE = (*_BLOCKS, "backbone.options.patch=[1,4,4]")
CANDIDATES = {
    "a window a token, 700 steps": (*_WHOLE, "train.steps=700"),
    "a window a token, flipped, 2400 steps": (*_WHOLE, "data.windows=32", "data.flip=true", "train.steps=2400"),
    "16 px a token, 2300 steps": (
        *_BLOCKS,
        "backbone.options.patch=[1,2,2]",
        "diffusion.shift=3.0",
        "train.steps=2300",
    ),
}
CHOSEN = "16 px a token, 2300 steps"
# Its samples are one coherent video each, and near what was seen: see docs/measured.md.
WINDOW = "a window a token, 700 steps"

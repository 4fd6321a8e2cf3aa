"""Which text encoder, as plain values."""

from dataclasses import dataclass
from typing import Literal

from clipmill.curate.errors import UserError

TextEncoderName = Literal["none", "hash", "characters", "open_clip", "t5"]


@dataclass(frozen=True)
class TextConfig:
    """encoder: hash and characters need no weights. model: architecture (open_clip), or folder or hub name (t5).
    pretrained: file or tag of open_clip's weights. tokens: places for a caption's tokens, what is longer is cut. dim:
    channels of a token; 0 for the encoder's own (256 for hash and characters). drop: share of samples that train
    without it.
    """

    encoder: TextEncoderName = "none"
    model: str = ""
    pretrained: str = ""
    tokens: int = 77
    dim: int = 0
    drop: float = 0.1

    def __post_init__(self) -> None:
        check_shares("text", drop=self.drop)
        if self.tokens < 1 or self.dim < 0:
            raise UserError(f"text takes tokens of at least 1 and dim of at least 0, not {self.tokens} and {self.dim}")


def check_shares(section: str, **shares: float) -> None:
    """Raises UserError for a number that is no share of samples."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UserError(f"{section}.{name} lies between 0 and 1, not {share}")

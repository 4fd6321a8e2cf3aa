"""Text encoders under the names that presets write."""

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.text.characters import Characters
from clipmill.models.conditioning.text.config import TextConfig
from clipmill.models.conditioning.text.encoder import TextEncoder
from clipmill.models.conditioning.text.hash_words import HashWords

HASHED_DIM = 256


def text_encoder_of(config: TextConfig) -> TextEncoder | None:
    """None for a model without text. Raises UserError where weights are missing, or `dim` is another than the
    encoder's.
    """
    encoder = _made(config)
    if encoder is not None and config.dim not in (0, encoder.dim):
        raise UserError(
            f"this {config.encoder} makes tokens of {encoder.dim} channels: leave conditioning.text.dim out, or set it"
            " to that"
        )
    return encoder


def _made(config: TextConfig) -> TextEncoder | None:
    if config.encoder == "none":
        return None
    if config.encoder == "hash":
        return HashWords(config.tokens, config.dim or HASHED_DIM)
    if config.encoder == "characters":
        return Characters(config.tokens, config.dim or HASHED_DIM)
    if config.encoder == "t5":
        from clipmill.models.conditioning.text.t5 import T5

        return T5(config.model, config.tokens)
    from clipmill.models.conditioning.text.open_clip_text import OpenClipText

    return OpenClipText(config.model, config.pretrained, config.tokens)

"""Captions: what a caption annotator is, and the list of a clip's captions. Each makes one; training draws among them
by weight.

May import: contract, networks, errors. Imported by: caption annotators, and tables for what wrote a caption.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from clipmill.curate.captions.cleaning import clean
from clipmill.curate.contract.annotator import Annotator
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError

_SHOWN_CHARACTERS = 120

FLAGS = Column(pa.list_(pa.string()), "what was odd about it (see `clipmill.curate.captions.cleaning`)")


@dataclass(frozen=True)
class CaptionAnnotator(Annotator):
    """Base of the annotators `caption_<source>`. Each makes two columns: `caption_<source>`, the text, and
    `caption_<source>_flags`, what was odd about it.

    sample_weight: how often training draws it, relative to a clip's other captions; 0: never. It changes no text.
    """

    from_stored: ClassVar[bool] = True

    sample_weight: float = 1.0

    @property
    def name(self) -> str:
        """As in settings: that of the column."""
        return next(iter(self.columns))

    @property
    def model(self) -> str | None:
        """What wrote the text, for the manifest."""
        return None

    def params(self) -> dict[str, Any]:
        """All but the weight of the draw."""
        return {name: value for name, value in super().params().items() if name != "sample_weight"}

    def row(self, written: str, finished: bool | None) -> dict[str, Any]:
        """The columns of what a model wrote, cleaned. finished: whether it came to an end by itself. Raises
        AnnotatorError, which begins with `refusal` or `garbage` (of which cleaning leaves nothing), where there is no
        caption.
        """
        text, flags = clean(written, finished)
        if text is None:
            kind = "refusal" if "refusal" in flags else "garbage"
            raise AnnotatorError(f"{kind}: {' '.join(written.split())[:_SHOWN_CHARACTERS]}")
        return {self.name: text, f"{self.name}_flags": flags}

    def row_or_why_not(self, written: str, finished: bool | None) -> dict[str, Any] | Exception:
        """As `row`, for one clip among many: the error in place of the columns."""
        try:
            return self.row(written, finished)
        except AnnotatorError as error:
            return error

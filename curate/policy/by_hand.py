"""Decisions by hand: a person's word on a clip stands above every filter.

They lie in decisions/hand.parquet, one row per clip, and outlast every policy and every run: a clip is named by what
it holds. `keep` and `drop` decide the clip; `unsure`, a note and a corrected caption decide nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipmill.curate.common.files import read_table, write_atomic
from clipmill.curate.common.lock import in_turn
from clipmill.curate.contract.column import Column, types
from clipmill.curate.errors import UserError
from clipmill.curate.policy.decisions import DROPPED_BY_HAND, KEPT_BY_HAND, Outcomes
from clipmill.curate.policy.policy import BY_HAND

VERDICTS = ("keep", "drop", "unsure")

HAND_COLUMNS: dict[str, Column] = {
    "clip_id": Column(pa.string(), "the clip"),
    "verdict": Column(pa.string(), "keep | drop | unsure; null where there is only a note or a caption"),
    "note": Column(pa.string(), "a person's note, or null"),
    "caption": Column(pa.string(), "the caption as a person corrected it, or null"),
    "who": Column(pa.string(), "name of the user who decided"),
    "when": Column(pa.timestamp("us", "UTC"), "of the last change"),
}
HAND = pa.schema(types(HAND_COLUMNS))


@dataclass(frozen=True)
class Word:
    """What a person said of a clip. verdict: one of VERDICTS or None; when: UTC."""

    clip_id: str
    verdict: str | None = None
    note: str | None = None
    caption: str | None = None
    who: str | None = None
    when: datetime | None = None

    def __post_init__(self) -> None:
        """Raises UserError for a verdict that is none."""
        if self.verdict is not None and self.verdict not in VERDICTS:
            raise UserError(f"clip {self.clip_id}: {self.verdict!r} is no verdict; there are: {', '.join(VERDICTS)}")

    @property
    def says_nothing(self) -> bool:
        """Whether such a word is as good as none."""
        return not (self.verdict or self.note or self.caption)


def path_of_hand(root: Path) -> Path:
    """RUN/decisions/hand.parquet."""
    return root / "decisions" / f"{BY_HAND}.parquet"


def read_words(root: Path) -> dict[str, Word]:
    """clip_id -> the word on it; empty where nobody has decided by hand. Raises UserError for a damaged file."""
    path = path_of_hand(root)
    if not path.is_file():
        return {}
    return {row["clip_id"]: Word(**row) for row in read_table(path, HAND).to_pylist() if row["clip_id"]}


def say_words(root: Path, words: Iterable[Word]) -> dict[str, Word]:
    """Put these words in place of earlier ones on the same clips; one that says nothing takes the earlier one away.
    Returns all that hold now. Raises OSError where the folder cannot be written.
    """
    path_of_hand(root).parent.mkdir(parents=True, exist_ok=True)
    with in_turn(path_of_hand(root)):  # not the run's own lock: a person may decide while a command is at work
        found = read_words(root)
        for word in words:
            found.pop(word.clip_id, None)
            if not word.says_nothing:
                found[word.clip_id] = word if word.when else replace(word, when=datetime.now(UTC))
        write_atomic(path_of_hand(root), as_table(found), synced=True)
    return found


def as_table(words: Mapping[str, Word]) -> pa.Table:
    """The words as a table of HAND, by clip."""
    return pa.Table.from_pylist([asdict(words[clip]) for clip in sorted(words)], schema=HAND)


def verdict_codes(clip_ids: Any, words: Mapping[str, Word]) -> np.ndarray:
    """int8 [N] as `Outcomes.by_hand`. clip_ids: [N] str."""
    codes = {"keep": KEPT_BY_HAND, "drop": DROPPED_BY_HAND}
    known = {clip: codes[word.verdict] for clip, word in words.items() if word.verdict in codes}
    return np.fromiter((known.get(clip, 0) for clip in clip_ids), np.int8, len(clip_ids))


def with_hand(found: Outcomes, root: Path) -> Outcomes:
    """The outcomes with the decisions by hand of the run above those of the filters."""
    words = read_words(root)
    return replace(found, by_hand=verdict_codes(found.clip_ids, words)) if words else found

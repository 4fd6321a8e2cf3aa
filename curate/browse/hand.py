"""Decisions by hand from the command line: lists of clips, CSV."""

import getpass
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clipmill.curate.common.log import say
from clipmill.curate.policy.by_hand import VERDICTS, Word, read_words, say_words
from clipmill.curate.policy.hand_lists import listed, read_csv, write_csv
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_manifest


def user_name() -> str:
    """Of whoever runs this program; "" for one without a name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def decide_lists(root: Path, include: Path | None, exclude: Path | None) -> None:
    """`curate filter --include LIST --exclude LIST`: they become decisions by hand; notes and captions stay. Raises
    UserError, and changes nothing, where a list names a clip that is not there.
    """
    if include is None and exclude is None:
        return
    known = read_manifest(RunDir(root), ["clip_id"])["clip_id"].to_pylist()
    before = read_words(root)
    words = [_over(before.get(word.clip_id), word) for word in listed({"keep": include, "drop": exclude}, known)]
    say_words(root, words)
    counts = Counter(word.verdict for word in words)
    say(f"by hand from now on: {counts['keep']} clips of the lists are kept, {counts['drop']} dropped")


def _over(before: Word | None, word: Word) -> Word:
    """The word of a list over the one there is."""
    if before is None:
        return replace(word, who=user_name())
    return replace(before, verdict=word.verdict, note=before.note or word.note, who=user_name(), when=None)


def command(root: Path, to: Path | None, source: Path | None) -> None:
    """`curate hand`."""
    known = set(read_manifest(RunDir(root), ["clip_id"])["clip_id"].to_pylist())
    words = read_words(root)
    if source is not None:
        words = _imported(root, read_csv(source), known)
    if to is not None:
        write_csv(to, words)
        say(f"{len(words)} decisions by hand in {to}")
    counts = Counter(word.verdict for word in words.values())
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    say(f"{len(words)} clips have a word by hand: {told}; next: curate filter {root}")


def _imported(root: Path, given: Sequence[Word], known: set[str]) -> dict[str, Word]:
    words = say_words(root, [word if word.who else replace(word, who=user_name()) for word in given])
    strange = sum(word.clip_id not in known for word in given)
    also = f"; {strange} are of clips that this run does not have, and wait for them" if strange else ""
    say(f"{len(given)} decisions taken over{also}")
    return words

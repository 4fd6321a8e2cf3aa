"""What a command was given to read: folders, files, lists of videos, addresses, in any mixture."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from clipmill.curate.errors import UserError
from clipmill.curate.inputs.files import NOT_VIDEOS, Source, by_name, find_sources, source_at
from clipmill.curate.inputs.lists import is_list, read_list
from clipmill.curate.inputs.sidecars import SidecarTables
from clipmill.curate.settings.inputs import InputsConfig
from clipmill.curate.storage import objects
from clipmill.curate.storage.address import OBJECTS, address_of, check_address


def given_text(given: Path | str) -> str:
    """An input as run.json has it: an address, or an absolute path."""
    return address_of(given) or str(Path(given).absolute())


def find_given(inputs: Sequence[Path], how: InputsConfig) -> tuple[list[Source], Counter[str]]:
    """Every source of the inputs, in order, and how many files were passed over as not videos, by suffix.

    Raises UserError where an input is missing or cannot be read, and where nothing is found.
    """
    addresses = [address for given in inputs if (address := address_of(given)) is not None]
    here = [given for given in inputs if address_of(given) is None]
    lists = [path for path in here if is_list(path)]
    plain = [path for path in here if path not in lists]
    found, skipped = find_sources(plain) if plain else ([], Counter[str]())
    sources = [*found, *(source for path in lists for source, _ in read_list(path, how))]
    for address in addresses:
        sources += _of_address(address, skipped)
    unique = {(source.uri, source.problem): source for source in reversed(sources)}
    if not unique:
        raise UserError(f"no videos in {', '.join(map(str, inputs))}")
    return sorted(unique.values(), key=by_name), skipped


def _of_address(address: str, skipped: Counter[str]) -> list[Source]:
    """The object, or all below `s3://BUCKET/PREFIX` where there are some."""
    below = objects.listed(address) if address.partition("://")[0] in OBJECTS else []
    if not below:
        check_address(address)
        return [source_at(address)]
    found = []
    for one, size in below:
        suffix = PurePosixPath(one).suffix.lower()
        if suffix in NOT_VIDEOS:
            skipped[suffix] += 1
        elif size and not one.endswith("/"):
            found.append(source_at(one))
    return found


def with_texts(tables: SidecarTables, inputs: Iterable[str], how: InputsConfig) -> SidecarTables:
    """With what the lists among the inputs say, before what lies beside videos. A list that cannot be read any more is
    a warning.
    """
    texts, warnings = dict(tables.texts), list(tables.warnings)
    for path in map(Path, inputs):
        if is_list(path):
            try:
                for source, text in read_list(path, how):
                    if source.problem is None and (text or source.address):
                        texts[str(source.path)] = texts.get(str(source.path), {}) | text
            except UserError as error:
                warnings.append(str(error))
    return replace(tables, texts=texts, warnings=tuple(warnings))

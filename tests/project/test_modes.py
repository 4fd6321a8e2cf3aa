"""Every file has the mode that the umask says: others of a group read what one of them made."""

import os
from pathlib import Path

import pytest
from helpers.commands import made_once
from helpers.whole_chain import UMASK, make_chain


def test_every_file_has_the_mode_of_the_umask(tmp_path_factory: pytest.TempPathFactory):
    root = made_once(tmp_path_factory, "chain", make_chain)
    wrong = []
    for folder, _, names in os.walk(root):
        for path, asked in [(Path(folder), 0o777), *((Path(folder, name), 0o666) for name in names)]:
            mode = path.lstat().st_mode & 0o777
            if path != root and not path.is_symlink() and mode != asked & ~UMASK:
                wrong.append(f"{path.relative_to(root)}: {mode:o}")
    assert not wrong

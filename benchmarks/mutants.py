"""Does each system's test notice when the construction that it proves is broken?

    python benchmarks/mutants.py [--only lvdm,latte] [--list]

Each file of benchmarks/mutants names changes of the code of one system, every one with the test that must notice. A
change is made to a copy of the checkout; the test has to pass before, and to fail after. Prints a Markdown table, and
exits 1 where a test does not notice.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT, FOLDER = HERE.parent, HERE / "mutants"
# What the tests of systems import and read.
PARTS = ("clipmill", "curate", "evaluate", "models", "tests", "docs", "benchmarks", "pyproject.toml")
# pytest: some tests failed. Other statuses say that it could not run them.
_FAILED = 1


@dataclass(frozen=True)
class Mutant:
    """breaks: what no longer holds, in words. old: text that stands in `file` once; new: what it is replaced by. test:
    FILE::NAME, or several with spaces between, of which each must notice.
    """

    system: str
    breaks: str
    file: str
    old: str
    new: str
    test: str

    def broken(self, root: Path) -> str:
        """The text of the file with the change. Raises ValueError where what is to be changed does not stand there
        once.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {text.count(self.old)} times, not once: {self.old}")
        return text.replace(self.old, self.new)


def mutants(names=None):
    """Of all systems, or of those named."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        if names is None or path.stem in names:
            rows = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
            found += [Mutant(system=path.stem, **row) for row in rows]
    return found


def status(root, tests):
    """How pytest ends in a copy of the checkout, and its last line."""
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    return done.returncode, (done.stdout.strip().splitlines() or [""])[-1]


def noticed(root, mutant):
    """The words of the table's last cell, and whether the test noticed."""
    path = root / mutant.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(mutant.broken(root), encoding="utf-8")
    try:
        for test in mutant.test.split():
            code, last = status(root, [test])
            if code != _FAILED:
                return f"**no**: {last}", False
    finally:
        path.write_text(whole, encoding="utf-8")
    return "yes", True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="systems, with commas between")
    parser.add_argument("--list", action="store_true", help="show them, and run nothing")
    options = parser.parse_args()
    chosen = mutants(None if options.only is None else options.only.split(","))
    if not chosen:
        sys.exit(f"no mutants of {options.only}; there are {', '.join(sorted(p.stem for p in FOLDER.glob('*.toml')))}")
    print("| system | what is broken | test | noticed |\n|---|---|---|---|")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in () if options.list else PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
            copy(ROOT / part, root / part)
        if not options.list:
            code, last = status(root, sorted({test for mutant in chosen for test in mutant.test.split()}))
            if code:
                sys.exit(f"the tests have to pass before anything is broken: {last}")
        for mutant in chosen:
            word, good = ("", True) if options.list else noticed(root, mutant)
            missed += not good
            print(f"| {mutant.system} | {mutant.breaks} | `{mutant.test.split('::')[-1]}` | {word} |", flush=True)
    if missed:
        sys.exit(f"{missed} of {len(chosen)} were not noticed")


if __name__ == "__main__":
    main()

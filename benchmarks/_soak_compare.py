"""What must be equal after a command that was disturbed, and what it may not have made again."""

import hashlib
import json
import os
import re
from pathlib import Path

import pyarrow.parquet as pq

# Beside these, everything is compared byte by byte.
# report.html shows times; run.jsonl is a log with a line for each try: only that they are there is compared.
LOGS = {"report.html", "run.jsonl"}
# Keys of run.json and state.json: when a command ran, how long, and how much of the work was left to it.
# In card.json `before` lists the sittings of a training with what each ran on: a training that was killed had several.
VOLATILE_KEYS = {"command", "started_at", "finished_at", "seconds", "processed", "before"}
JSON_FILES = ("run.json", "state.json", "card.json")
LOG_KEYS = ("step", "loss", "grad_norm", "learning_rate", "skipped")  # of a line of log.jsonl: the others are times
# What was remembered of files' states, so that they need not be hashed again. A file is remembered only once it is two
# seconds old: what it holds depends on when the command ran, and no result depends on what it holds.
MEMORY = ".content"


def state(folder):
    """What a system tells of the names below a folder: changes with every file that a command writes."""
    found, todo = [], [str(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    facts = entry.stat(follow_symlinks=False)
                    found.append((entry.path, facts.st_ino, facts.st_size, facts.st_mtime_ns))
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:  # gone meanwhile
            continue
    return sorted(found)


def snapshot(folder):
    """Name -> hash of all that lies in a folder, folders included: what a command was given must be as it was, and
    nothing may be left over.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.name.endswith(MEMORY):
            found[str(path.relative_to(folder))] = "folder" if path.is_dir() else digest(path)
    return found


def differences(wanted, found):
    """One line: what is missing, too much, or other."""
    parts = {
        "missing": sorted(wanted.keys() - found.keys()),
        "left over": sorted(found.keys() - wanted.keys()),
        "other bytes": sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name]),
    }
    return "; ".join(f"{what}: {', '.join(names[:6])} ({len(names)})" for what, names in parts.items() if names)


def digest(path):
    """Of what is promised equal of a file."""
    if path.name in LOGS:
        return "there"
    content = path.read_bytes()
    if path.name in JSON_FILES:
        tree = json.loads(content)
        content = json.dumps({key: value for key, value in tree.items() if key not in VOLATILE_KEYS}).encode()
    elif path.name == "log.jsonl":
        rows = [json.loads(line) for line in content.splitlines()]
        content = json.dumps([[row.get(key) for key in LOG_KEYS] for row in rows]).encode()
    elif path.name == "scores.parquet":
        content = json.dumps(_scores(path), default=str).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def finished(case, patterns):
    """File that is one finished unit of work, or one of several of it -> (unit, what a system tells of the file). A
    table of a source that could not be read is none: it is tried again.
    """
    found, unread = {}, {path.name for path in case.glob("run/.unread/*")}
    for pattern in patterns:
        for path in case.glob(pattern):
            unit, facts = path.name.partition("-")[0], path.stat()
            if unit not in unread and not (path.parent.name == "exports" and _is_unread(path)):
                found[path] = (path.parent, unit), (facts.st_ino, facts.st_mtime_ns)
    return found


def _is_unread(path):
    """Whether a list of exported clips says that their source could not be read."""
    try:
        return "unread" in pq.read_table(path, columns=["status"])["status"].to_pylist()
    except (OSError, ValueError, KeyError):  # damaged: made again
        return False


def made_again(before, after):
    """Units of which a file that was complete has been written anew. What was copied before is in both as it is."""
    return {unit for path, (unit, facts) in before.items() if path in after and after[path][1] != facts}


def steps_lost(said, log_before):
    """Steps that a training did again; 0 where it did not get so far as to say where it goes on."""
    logged = re.findall(r'"step": (\d+)', log_before)
    going_on = re.search(r"going on from step (\d+)", said)
    began = re.search(r" parameters on ", said)
    if not logged or not began:
        return 0
    return int(logged[-1]) - (int(going_on[1]) if going_on else 0)


def strays(folder):
    """Names of what commands left in their TMPDIR."""
    return {path.name for path in Path(folder).glob("*")}


def _scores(path):
    table = pq.read_table(path)
    return table.select([name for name in table.column_names if name not in ("created_at", "seconds")]).to_pylist()

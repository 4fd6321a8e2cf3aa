"""Nothing in the product opens media but `open_av`, which has a list of containers and opens no second file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THE_ONE = Path("curate/video/open_av.py")
# They decode a file that `open_av` has opened and named before.
AFTER_IT = Path("curate/video/other_decoders.py")
OPENERS = {
    "VideoCapture", "imread_collection", "imiter", "get_reader", "mimread", "read_video", "VideoReader",
    "VideoFileClip", "input_was_opened", "open_input", "AVFrameSource", "StreamReader", "FFmpegReader",
}  # fmt: skip


def files():
    return [p.relative_to(ROOT) for package in ("curate", "evaluate", "models") for p in (ROOT / package).rglob("*.py")]


def calls(path: Path) -> list[ast.Call]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def opens_to_read(call: ast.Call) -> bool:
    """`av.open` or `av.container.open`, for anything but writing."""
    if not ast.unparse(call.func).startswith("av.") or not ast.unparse(call.func).endswith(".open"):
        return False
    modes = [*call.args[1:2]] + [k.value for k in call.keywords if k.arg == "mode"]
    return not any(isinstance(mode, ast.Constant) and str(mode.value).startswith("w") for mode in modes)


def test_av_open_stands_in_one_place():
    found = [path for path in files() for call in calls(path) if opens_to_read(call)]
    assert found == [THE_ONE]


def test_av_is_imported_under_its_own_name():
    for path in files():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not [a for a in node.names if a.name.split(".")[0] == "av" and a.asname], path
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "av":
                assert "open" not in {alias.name for alias in node.names}, path


@pytest.mark.slow
@pytest.mark.parametrize("package", ["imageio", "moviepy", "torchaudio", "skvideo", "ffmpeg", "pyav"])
def test_no_other_library_that_opens_media_is_imported(package):
    for path in files():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert package not in {name.split(".")[0] for name in names}, path


def test_no_other_opener_is_called():
    for path in files():
        if path != AFTER_IT:
            called = {ast.unparse(call.func).split(".")[-1] for call in calls(path)}
            assert not called & OPENERS, path

"""Weights of a stranger: nothing that a file or a folder brings is run; see the table in test_hostile.py."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_clip import write_clip
from safetensors.torch import save_file

from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import ClipModel, embedding_size, load_network
from clipmill.curate.weights.load import load_state
from clipmill.evaluate.features.inception import Inception
from clipmill.evaluate.networks.i3d_weights import read
from clipmill.models.autoencoders.saving import load_autoencoder
from clipmill.models.checkpoints.step_files import load_tensors
from clipmill.models.conditioning.text.t5 import T5

pytestmark = pytest.mark.slow


Reader = Callable[[Path], object]
READERS: dict[str, Reader] = {
    "load_state": load_state,
    "i3d": read,
    "inception": lambda path: Inception("cpu", path),
    "clip": lambda path: load_network(path, "ViT-B-32", "openai"),
}
TENSORS: dict[str, Reader] = READERS | {"checkpoint": load_tensors, "autoencoder": load_autoencoder}


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that hostile code would make."""
    return tmp_path / "was_run"


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("form", ["pickle", "torch.save", "old torch.save"])
def test_a_pickle_with_code_is_refused(name: str, form: str, tmp_path: Path, mark: Path):
    path, content = tmp_path / "weights.pt", {"a": torch.ones(2), "b": Runs(mark)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch.save")
    with pytest.raises(UserError) as error:
        READERS[name](path)
    assert "\n" not in str(error.value)
    assert not mark.exists()


class _Script(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.arange(3.0))

    @torch.jit.export
    def __getstate__(self):
        return (self.w, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.w = state[0]
        self.training = state[1]
        torch.save(state[0], "PLACE")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_read_without_running_it(tmp_path: Path, mark: Path):
    plain, hostile = tmp_path / "plain.pt", tmp_path / "hostile.pt"
    torch.jit.script(_Script()).save(str(plain))
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(hostile, "w") as new:
        for item in old.infolist():
            new.writestr(item, old.read(item).replace(b'"PLACE"', b'"' + str(mark).encode() + b'"'))
    found = list(read(hostile).values())
    assert len(found) == 1
    assert np.array_equal(found[0], [0, 1, 2])
    assert not mark.exists()


@pytest.mark.parametrize(
    "call", [b"cposix\nsystem\n(X\x04\x00\x00\x00true\x85R.", b"cbuiltins\neval\n(X\x01\x00\x00\x001\x85R."]
)
def test_torchscript_names_nothing_but_tensors(call: bytes, tmp_path: Path):
    path = tmp_path / "hostile.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + call)
        archive.writestr("a/code/__torch__.py", "")
    with pytest.raises(UserError, match="without running its code"):
        read(path)


def safetensors(header: dict | bytes, data: bytes = b"", said: int | None = None) -> bytes:
    """A file with this header. said: its length as the file has it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if said is None else said) + text + data


SAFETENSORS = {
    "header of 2 GB": safetensors({}, said=2 << 30),
    "header of 2^63": safetensors({}, said=(1 << 63) - 1),
    "overlapping offsets": safetensors(
        {n: {"dtype": "F32", "shape": [2], "data_offsets": [a, a + 8]} for n, a in (("a", 0), ("b", 4))}, bytes(12)
    ),
    "offsets beyond the end": safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(4)),
    "huge shape": safetensors({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]}}, bytes(8)),
    "nested": safetensors(b'{"a":' + b"[" * 100_000),
    "no JSON": safetensors(b"\xff\xfe not json"),
}


@pytest.mark.parametrize("kind", SAFETENSORS)
@pytest.mark.parametrize("name", [name for name in TENSORS if name != "inception"])
def test_a_hostile_safetensors_file_is_one_line(kind: str, name: str, tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(SAFETENSORS[kind])
    with pytest.raises(UserError) as error:
        TENSORS[name](path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"text_cfg": {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}},
        {"text_cfg": {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"tokenizer_file": "/etc/passwd"}}},
        {"text_cfg": {"hf_tokenizer_name": "x"}},
        {"text_cfg": {"hf_model_name": "HERE", "hf_tokenizer_name": "x"}},
        {"vision_cfg": {"timm_model_name": "local-dir:HERE"}},
        {"vision_cfg": {"timm_model_name": "hf_hub:some/one"}},
        {"text_cfg": 1},
    ],
)
def test_a_folder_of_clip_brings_no_code(change: dict, tmp_path: Path, mark: Path):
    folder = write_clip(tmp_path / "clip")
    code = f"open({str(mark)!r}, 'w')\nfrom transformers import PreTrainedTokenizer as Evil\n"
    (folder / "evil.py").write_text(code)
    (folder / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoConfig": "evil.Evil"}}')
    tokenizer = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "open_clip_config.json").read_text())
    for tower, values in json.loads(json.dumps(change).replace("HERE", str(folder))).items():
        config["model_cfg"][tower] = config["model_cfg"][tower] | values if isinstance(values, dict) else values
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as error:
        ClipModel(str(folder), folder, "cpu")
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "{}", '{"model_cfg": {"embed_dim": {}}}', "\0", '{"model_cfg": 1}']
)
def test_a_hostile_description_of_clip_is_one_line(text: str, tmp_path: Path):
    (tmp_path / "open_clip_config.json").write_text(text)
    for reads in (embedding_size, lambda folder: ClipModel(folder, Path(folder), "cpu")):
        with pytest.raises(UserError) as error:
            reads(str(tmp_path))
        assert "\n" not in str(error.value)


def test_a_folder_of_t5_brings_no_code_and_asks_nobody(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    auto = {"AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", None], "AutoModel": "evil.Evil"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5x", "d_model": 8, "auto_map": auto}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto, "tokenizer_class": "Evil"}))
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # what a person might type who is asked to trust it
    with pytest.raises(UserError, match="no T5 can be loaded"):
        T5(str(tmp_path), 4).encode(["a"])
    assert not mark.exists()

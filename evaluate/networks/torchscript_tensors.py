"""The tensors of a TorchScript archive, without loading its code.

`torch.jit.load` runs the `__setstate__` of the classes that an archive brings, and their code may write files. The
tensors lie beside the code: NAME/data.pkl names them, NAME/data/<number> holds their numbers. Here classes of the
archive become empty boxes for what they are said to hold, and anything else than torch's own tensors is refused.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

_MOST_INDEX_BYTES = 64 << 20
_STORAGES = {
    f"{name}Storage": dtype
    for name, dtype in {
        "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}  # fmt: skip
# Lists of one kind, and values whose kind was noted beside them: the value itself is all that counts.
_LISTS = frozenset({"build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag"})


class _Box:
    """Stands for an object of a class that the archive brings."""

    held: Any = None

    def __setstate__(self, state: Any) -> None:
        self.held = state


def torchscript_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Name (dotted, as in a state dict) -> tensor on the CPU. Raises ValueError for an archive that holds anything but
    modules and tensors; what else a damaged one makes the readers raise is raised.
    """
    with zipfile.ZipFile(path) as archive:
        index = next((name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if index is None:
            raise ValueError("no data.pkl")
        if archive.getinfo(index).file_size > _MOST_INDEX_BYTES:
            raise ValueError("its list of tensors is too long")
        with archive.open(index) as file:
            root = _Reader(file, archive, index.removesuffix(".pkl")).load()
    return dict(_named(root, ""))


class _Reader(pickle._Unpickler):  # type: ignore[name-defined,misc] # the one whose memory grows with the file alone
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Box
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name in _LISTS:
            return _first
        raise ValueError(f"it names {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise ValueError("it names a storage of another kind")
        if key not in self._storages:
            member = self._archive.getinfo(f"{self._folder}/{key}")
            if member.compress_type != zipfile.ZIP_STORED or member.file_size < count * dtype.itemsize:
                raise ValueError(f"{member.filename} does not hold {count} numbers")
            data = bytearray(self._archive.read(member)[: count * dtype.itemsize])
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _tensor(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Any:
    """torch checks that all of it lies in the storage, but not that nothing is there twice."""
    if math.prod(size) > storage.numel():
        raise ValueError("a tensor is larger than its storage")
    return storage.as_strided(size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    return value


def _named(held: Any, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    waiting, seen = [(prefix, held)], set()
    while waiting:
        name, value = waiting.pop()
        if not isinstance(value, torch.Tensor) and id(value) in seen:  # a box that holds itself
            continue
        seen.add(id(value))
        if isinstance(value, _Box):
            waiting.append((name, value.held))
        elif isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, dict | list | tuple):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{name}.{key}".removeprefix("."), part) for key, part in parts]

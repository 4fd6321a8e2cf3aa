"""Weight files of I3D: read in any published layout, and proven tensor by tensor to be the network that FVD is defined
on.

That network is DeepMind's `rgb_scratch` checkpoint (google-deepmind/kinetics-i3d; Carreira and Zisserman, CVPR 2017),
which TF-Hub serves as `deepmind/i3d-kinetics-400/1`. A table of the CRC32C of its 230 tensors lies beside this file.
Tensors are recognised by their bytes, so what a file calls them does not matter.
"""

import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from clipmill.curate.common.package_files import read_file
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.weights import git_blob_sha1, located, weights_named
from clipmill.evaluate.networks import tensor_bundle
from clipmill.evaluate.networks.crc32c import crc32c, masked

NETWORK = "I3D rgb_scratch (Kinetics-400 from scratch)"
_PREFIX = "RGB/inception_i3d/"
_WHY_IMAGENET = "it was initialised from ImageNet; FVD is defined on rgb_scratch, and the two give different numbers"
_WRONG_BLOBS = {
    "2958652e0c9c48a65010c0ebda5c9cfd4edc7c18": "DeepMind's rgb_imagenet checkpoint",
    "73a4fd1d87eb3dbd97f33a9779fa1caa3d28111a": "rgb_imagenet.pt, a port of DeepMind's rgb_imagenet",
    "2a7c22e23e6c74f50a0166ce61110bccd2ab48bb": "model_rgb.pth (also i3d_rgb.pt), a port of DeepMind's rgb_imagenet",
}
_WRONG_NAMES = {
    "rgb_imagenet": _WHY_IMAGENET,
    "flow_imagenet": "it sees optical flow; FVD is defined on rgb_scratch",
    "flow_scratch": "it sees optical flow; FVD is defined on rgb_scratch",
    "kin600": "it was trained on Kinetics-600; FVD is defined on rgb_scratch of Kinetics-400",
}
_STAGE = re.compile(r"conv3d_(?:1a_7x7|2b_1x1|2c_3x3|0c_1x1)|mixed_[345][b-f]|logits", re.IGNORECASE)
_BRANCH = re.compile(r"\.(?:b([0-3])([ab]?)|branch_([0-3])(?:\.([01]))?)\.")
_LEAVES = {
    "weight": "conv_3d/w", "bias": "conv_3d/b", "norm.bias": "batch_norm/beta",
    "norm.running_mean": "batch_norm/moving_mean", "norm.running_var": "batch_norm/moving_variance",
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A tensor of the network: its shape in TensorFlow's layout (t, h, w, in, out) and its masked CRC32C as
    little-endian float32.
    """

    shape: tuple[int, ...]
    crc32c: int


Table = Mapping[str, Known]


@dataclass(frozen=True)
class Report:
    """What a weight file is. variables: the proven tensors, float32 in TensorFlow's layout, by name without scope.
    differing: present under a known name with other bytes. missing: of the network and not in the file. extra: in the
    file and not of the network (batch-norm scales that are all ones and step counters are left out: they change
    nothing). wrong: which wrong network it is known to be, and why.
    """

    path: Path
    variables: Mapping[str, np.ndarray] = field(repr=False)
    differing: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    wrong: str | None = None

    @property
    def proven(self) -> bool:
        """Every tensor of the network is there, byte by byte."""
        return not (self.differing or self.missing or self.wrong)

    @property
    def verdict(self) -> str:
        """One line."""
        count, total = len(self.variables), len(self.variables) + len(self.differing) + len(self.missing)
        equal = f"{count} of {total} tensors are equal by CRC32C"
        if self.proven:
            return f"{self.path} is {NETWORK}, the network of FVD: {equal}"
        if self.wrong:
            return f"{self.path} is {self.wrong}"
        if count:
            return (
                f"{self.path} is {NETWORK} changed, cut or damaged: {equal}, not {(self.differing + self.missing)[0]}"
            )
        if len(self.differing) > total // 2:
            return (
                f"{self.path} is an I3D, but not the one of FVD: {equal}; if it is a port of rgb_imagenet:"
                f" {_WHY_IMAGENET}"
            )
        files = ", ".join(weights_named("i3d").files)
        return f"{self.path} is not an I3D in a known layout: {equal}; take one of {files}"

    def lines(self) -> list[str]:
        """Every tensor with what was found, then the verdict."""
        groups = {
            "equal": sorted(self.variables),
            "differs": self.differing,
            "missing": self.missing,
            "extra": self.extra,
        }
        return [f"{word:8}{name}" for word, names in groups.items() for name in names] + [self.verdict]


@cache
def published_table() -> Table:
    """The 230 tensors of rgb_scratch, by name without scope."""
    text = read_file("clipmill.evaluate.networks", "i3d_rgb_scratch_crc32c.json")
    return {
        name.removeprefix(_PREFIX): Known(tuple(row["shape"]), row["crc32c"]) for name, row in json.loads(text).items()
    }


def table_checksum(table: Table) -> str:
    """Eight hexadecimal digits for all tensors of a table."""
    return f"{crc32c(b''.join(struct.pack('<I', table[name].crc32c) for name in sorted(table))):08x}"


def tensor_crc32c(values: np.ndarray) -> int:
    """Masked CRC32C of an array's values as little-endian float32, in its own order."""
    return masked(crc32c(np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8)))


def load(given: Path | None, table: Table | None = None) -> Mapping[str, np.ndarray]:
    """The proven variables of the file `given`, else of the cache folder's. Raises UserError where it is missing or
    another network.
    """
    report = check(weights_file(given), table)
    if not report.proven:
        raise UserError(report.verdict)
    return report.variables


def weights_file(given: Path | None) -> Path:
    """The file `given`, else the one on this machine. Raises UserError where there is none."""
    return located("I3D", [weights_named("i3d")], given)


def check(path: Path, table: Table | None = None) -> Report:
    """What a weight file is, tensor by tensor. table: the network to prove, by default the published one.

    Reads TensorFlow checkpoints (folder, prefix, index or data file), TorchScript archives (only their state dict is
    used), state dicts saved by torch.save (loaded with weights_only) and safetensors. Raises UserError where it cannot
    be read.
    """
    table = published_table() if table is None else table
    wrong = wrong_network(path)
    if wrong:
        return Report(path, {}, (), (), (), wrong)
    return _compare(path, read(path), table)


def wrong_network(path: Path) -> str | None:
    """Which network a file is, by its name or its published checksum, where that is a wrong one for FVD; None where
    nothing is known.
    """
    index = tensor_bundle.index_path(path)
    names = f"{index.parent.name}/{index.name}" if index else path.name
    for name, why in _WRONG_NAMES.items():
        if name in names.lower():
            return f"{name} by its name, which is the wrong network for FVD: {why}"
    file = tensor_bundle.data_path(index) if index else path
    blob = git_blob_sha1(file) if file.is_file() else ""
    return (
        f"{_WRONG_BLOBS[blob]}, which is the wrong network for FVD: {_WHY_IMAGENET}" if blob in _WRONG_BLOBS else None
    )


def read(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a weight file, under the names and in the layout of the file. Raises UserError where it cannot be
    read.
    """
    index = tensor_bundle.index_path(path)
    if index is not None:
        return tensor_bundle.tensors(index)
    if not path.exists():
        raise UserError(f"{path}: there is no such file")
    if path.is_dir():
        raise UserError(f"{path} is a folder without a TensorFlow checkpoint (one model.ckpt.index and its data file)")
    try:
        return _read_torch(path)
    except OSError as error:
        raise UserError(f"{path}: {one_line(error)}") from None
    except Exception:  # whatever a foreign file makes the readers raise
        raise UserError(
            f"{path} holds no weights that can be read without running its code: no state dict of tensors, no"
            " TorchScript, no safetensors"
        ) from None


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    import torch
    from safetensors.numpy import load_file

    from clipmill.evaluate.networks.torchscript_tensors import torchscript_tensors

    if path.suffix == ".safetensors":
        return load_file(path)
    if _is_torchscript(path):
        state = torchscript_tensors(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
    return {
        name: value.detach().float().numpy()
        for name, value in state.items()
        if torch.is_tensor(value) and value.is_floating_point()
    }


def _is_torchscript(path: Path) -> bool:
    """TorchScript archives hold code, state dicts do not."""
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).parts[1:2] in (("code",), ("constants.pkl",)) for name in archive.namelist())


def _compare(path: Path, found: Mapping[str, np.ndarray], table: Table) -> Report:
    names_by_crc = {known.crc32c: name for name, known in table.items()}
    variables: dict[str, np.ndarray] = {}
    others: list[tuple[str, str | None]] = []
    for raw_name, values in found.items():
        match = next((m for m in _matches(values, table, names_by_crc) if m[0] not in variables), None)
        if match is not None:
            variables[match[0]] = match[1]
        elif not (values.ndim == 1 and (values == 1).all()):
            others.append((raw_name, tf_name(raw_name, table)))
    differing = sorted({name for _, name in others if name is not None and name not in variables})
    missing = sorted(set(table) - set(variables) - set(differing))
    extra = sorted(raw_name for raw_name, name in others if name is None or name in variables)
    return Report(path, variables, tuple(differing), tuple(missing), tuple(extra))


def _matches(values: np.ndarray, table: Table, names_by_crc: Mapping[int, str]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, values in TensorFlow's layout) where the bytes are those of a known tensor, as stored or turned from
    torch's layout.
    """
    shapes = {_squeezed(known.shape) for known in table.values()}
    turned = [np.moveaxis(values, (0, 1), (-1, -2))] if values.ndim >= 2 else []
    for form in [values, *turned]:
        if _squeezed(form.shape) in shapes and (name := names_by_crc.get(tensor_crc32c(form))) is not None:
            yield name, np.ascontiguousarray(form, np.float32).reshape(table[name].shape)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def tf_name(name: str, table: Table) -> str | None:
    """The variable of the network that a name of a published port means; None where it means none.

    Understood: TensorFlow's own, and torch's `Mixed_3b.b1a.conv3d.weight` and
    `mixed_3b.branch_1.0.batch3d.running_mean`.
    """
    own = name.split("inception_i3d/")[-1]
    if own in table:
        return own
    stage, leaf = _STAGE.search(name), _leaf(name)
    if stage is None or leaf is None:
        return None
    unit = _unit(stage.group().lower(), _BRANCH.search(name))
    # In Mixed_5b the second convolution of Branch_2 is called 0a, a slip of the original graph.
    spellings = (f"{unit}/{leaf}", f"{unit}/{leaf}".replace("0b_3x3", "0a_3x3"))
    return next((s for s in spellings if s in table), None)


def _leaf(name: str) -> str | None:
    parts = name.split(".")
    layer = "norm." if len(parts) > 1 and parts[-2] in ("bn", "batch3d", "batch_norm") else ""
    return _LEAVES.get(layer + parts[-1])


def _unit(stage: str, branch: re.Match[str] | None) -> str:
    if stage in ("logits", "conv3d_0c_1x1"):
        return "Logits/Conv3d_0c_1x1"
    if branch is None:
        return stage.capitalize()
    number = branch.group(1) or branch.group(3)
    second = branch.group(2) == "b" or branch.group(4) == "1"
    layer = ("Conv3d_0b_1x1" if number == "3" else "Conv3d_0b_3x3") if second else "Conv3d_0a_1x1"
    return f"{stage.capitalize()}/Branch_{number}/{layer}"

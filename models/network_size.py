"""What a network may be, before its memory is asked for: a card of a stranger may claim any width."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from clipmill.curate.common.memory import check_fits
from clipmill.curate.errors import UserError, one_line
from clipmill.models.checkpoints.step_files import unreadable

Shape = tuple[int, ...]
_BYTES = 4


def shapes_of(path: Path) -> list[Shape]:
    """Of the tensors in a safetensors file, by its header alone. Raises UserError where the file is missing or
    broken.
    """
    try:
        with safe_open(str(path), "pt") as file:
            return [tuple(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise unreadable(path, error) from error


def check_claims(claims: Mapping[str, Any], shapes: Sequence[Shape], what: str) -> None:
    """claims: widths and numbers of parts, by name, none of which is larger than the tensors of `shapes` are wide or
    many. what: who claims them. Raises UserError where one is: parts are made one after another, before a first tensor
    tells.
    """
    widest = max((side for shape in shapes for side in shape), default=0)
    for name, value in claims.items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        most = len(shapes) if name.endswith("depth") else widest
        for number, limit in ((len(values), len(shapes)), *((one, most) for one in values)):
            if isinstance(number, int) and number > limit:
                raise UserError(f"{what}: {name} is {number:,}, and its weights have no such size or number of tensors")


@contextmanager
def of_these_shapes(shapes: Sequence[Shape], what: str) -> Iterator[None]:
    """While it lasts no parameter is made that has not the shape of a tensor that is left. Raises UserError."""
    left = Counter(shapes)

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and name not in module._parameters:  # else it takes the place of one
            left[tuple(parameter.shape)] -= 1
            if left[tuple(parameter.shape)] < 0:
                shape = " x ".join(map(str, parameter.shape))
                raise UserError(f"{what}: its network would have a {name} of {shape}, and its weights have none such")

    with _hooked(count), _in_memory(what):
        yield


@contextmanager
def that_fits(what: str) -> Iterator[None]:
    """While it lasts parameters are made only as long as they fit into this machine's memory. Raises UserError."""
    total = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal total
        total += 0 if parameter is None else parameter.numel() * _BYTES
        check_fits(total, what, "choose a smaller one")

    with _hooked(count), _in_memory(what):
        yield


@contextmanager
def _hooked(count: Any) -> Iterator[None]:
    """A parameter is registered before its values are written, so before it takes memory."""
    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _in_memory(what: str) -> Iterator[None]:
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in ("memory", "overflow", "size")):
            raise
        raise UserError(f"{what} is larger than this machine's memory: {one_line(error, 120)}") from error

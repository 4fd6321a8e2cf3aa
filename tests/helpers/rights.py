"""Rights of files as a plain user meets them: root reads and lists whatever it likes."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def bound_by_rights() -> Iterator[None]:
    """While it lasts, this thread and those that it starts cannot read what `chmod` forbids its user, root or not."""
    if not sys.platform.startswith("linux"):
        pytest.skip("rights of root are taken away by Linux's means")
    libc, header, before = ctypes.CDLL(None, use_errno=True), _Header(_VERSION_3, 0), (_Sets * 2)()
    assert libc.capget(ctypes.byref(header), before) == 0
    bound = (_Sets * 2)(*before)
    bound[0].effective &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    if libc.capset(ctypes.byref(header), bound) != 0:
        pytest.skip("rights of root cannot be taken away here")
    try:
        yield
    finally:
        assert libc.capset(ctypes.byref(header), before) == 0

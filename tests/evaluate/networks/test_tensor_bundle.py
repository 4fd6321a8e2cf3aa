"""The checkpoint reader and its checksum."""

import time

import numpy as np
import pytest
from helpers.tensor_bundle_writer import write_bundle

from clipmill.curate.errors import UserError
from clipmill.evaluate.networks import tensor_bundle
from clipmill.evaluate.networks.crc32c import crc32c
from clipmill.evaluate.networks.i3d_weights import check


@pytest.mark.parametrize("compress", [False, True])
def test_checkpoint_round_trip(tmp_path, compress):
    rng = np.random.default_rng(0)
    variables = {f"scope/layer_{k}/w": rng.standard_normal((k % 3 + 1, 4)).astype(np.float32) for k in range(100)} | {
        "step": np.float32(3)
    }
    prefix = write_bundle(tmp_path / "model.ckpt", variables, compress, rows_per_block=7)
    for path in (prefix, tmp_path, tmp_path / "model.ckpt.index", tmp_path / "model.ckpt.data-00000-of-00001"):
        index = tensor_bundle.index_path(path)
        found = tensor_bundle.tensors(index)
        assert found.keys() == variables.keys()
        assert all(np.array_equal(found[k], v) and found[k].shape == v.shape for k, v in variables.items())


@pytest.mark.parametrize("file", ["model.ckpt.index", "model.ckpt.data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_checkpoints_are_one_line(tmp_path, file, damage):
    write_bundle(tmp_path / "model.ckpt", {f"v{k}": np.arange(30, dtype=np.float32) for k in range(20)})
    raw = bytearray((tmp_path / file).read_bytes())
    raw[60] ^= 4
    (tmp_path / file).write_bytes({"flip": raw, "cut": raw[:-7], "empty": b""}[damage])
    with pytest.raises(UserError, match=r"damaged|not the index") as error:
        tensor_bundle.tensors(tmp_path / "model.ckpt.index")
    assert "\n" not in str(error.value)
    assert file.split(".data")[0].removesuffix(".index") in str(error.value)


def test_checkpoint_without_its_data_says_so(tmp_path):
    write_bundle(tmp_path / "model.ckpt", {"v": np.ones(3, np.float32)})
    (tmp_path / "model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(UserError, match=r"has no model\.ckpt\.data-00000-of-00001 beside it"):
        check(tmp_path / "model.ckpt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="folder without a TensorFlow checkpoint"):
        check(tmp_path / "empty")


@pytest.mark.parametrize(("data", "crc"), [
    (b"", 0), (b"a", 0xC1D04330), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E), (bytes(range(31, -1, -1)), 0x113FDB5C),
])  # fmt: skip
def test_crc32c_of_rfc_3720(data, crc):
    assert crc32c(data) == crc


def test_crc32c_against_the_bitwise_definition_at_every_small_length():
    rng = np.random.default_rng(0)
    for length in (*range(18), 255, 256, 257, 1000):
        data = rng.integers(0, 256, length, np.uint8).tobytes()
        register = 0xFFFFFFFF
        for byte in data:
            register ^= byte
            for _ in range(8):
                register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        assert crc32c(data) == register ^ 0xFFFFFFFF


def test_fifty_megabytes_are_checked_in_seconds():
    data = np.zeros(50_000_000, np.uint8)
    start_s = time.process_time()
    crc32c(data)
    assert time.process_time() - start_s < 5

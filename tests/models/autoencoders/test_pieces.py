"""Encoding and decoding in pieces: the autoencoder's own result where it fits, and the same in halves where not."""

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.causal import CausalAutoencoder, CausalConfig
from clipmill.models.autoencoders.frame import FrameAutoencoder, FrameConfig
from clipmill.models.autoencoders.pieces import Pieces
from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig

TINY = {"width": 8, "multipliers": (1, 1), "depth": 1, "time_factor": 2, "space_factor": 2, "groups": 4}


def made(kind):
    torch.manual_seed(0)
    if kind == "pixels":
        return Pixels(PixelsConfig(2, None, 2)), 16
    if kind == "causal":
        return CausalAutoencoder(CausalConfig(latent_channels=4, **TINY)).eval(), 17
    return FrameAutoencoder(FrameConfig(4, (8, 8), 1, 4, temporal_decoder=kind == "temporal")).eval(), 16


def bounded(model, most):
    """The same autoencoder on a device whose memory ends at `most` positions (batch times frames or latents)."""
    taken = []

    def check(module, args):
        taken.append((len(args[0]), args[0].shape[1]))
        if args[0].shape[0] * args[0].shape[1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    for name in ("encoder", "decoder"):
        if hasattr(model, name):
            getattr(model, name).register_forward_pre_hook(check)
    return taken


@pytest.mark.parametrize("kind", ["pixels", "causal", "frame", "temporal"])
@torch.no_grad()
def test_what_fits_is_done_in_one_piece_bit_by_bit(kind):
    model, frames = made(kind)
    x = torch.rand(3, frames, 3, 8, 8) * 2 - 1
    found, wanted = Pieces(model).encode(x), model.encode(x)
    assert torch.equal(found.mean, wanted.mean)
    assert torch.equal(found.std, wanted.std)
    assert torch.equal(Pieces(model).decode(wanted.mean), model.decode(wanted.mean))


@pytest.mark.parametrize(("kind", "most"), [("causal", 20), ("causal", 6), ("frame", 40), ("frame", 3)])
@torch.no_grad()
def test_halves_join_to_the_whole_and_are_remembered(kind, most):
    model, frames = made(kind)
    x = torch.rand(3, frames, 3, 8, 8) * 2 - 1
    wanted = model.encode(x)
    again = model.decode(wanted.mean)
    taken, pieces = bounded(model, most), Pieces(model)
    found = pieces.encode(x)
    torch.testing.assert_close(found.mean, wanted.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.std, wanted.std, rtol=0, atol=1e-5)
    torch.testing.assert_close(pieces.decode(wanted.mean), again, rtol=0, atol=1e-5)
    assert max(batch * some for batch, some in taken) > most
    taken.clear()
    pieces.encode(x)
    pieces.decode(wanted.mean)
    assert max(batch * some for batch, some in taken) <= most, "the size that fits is where the next time begins"


def test_a_video_is_cut_where_its_latents_are():
    x = torch.zeros(1, 17, 3, 8, 8)
    assert [len(part[0]) for part in made("causal")[0].frames_in_chunks(x, 3)] == [5, 6, 6]
    assert [len(part[0]) for part in made("pixels")[0].frames_in_chunks(x[:, :16], 3)] == [6, 6, 4]
    assert [len(part[0]) for part in made("frame")[0].frames_in_chunks(x[:, :3], 1)] == [1, 1, 1]


@torch.no_grad()
def test_what_cannot_be_halved_is_one_line_and_other_errors_are_their_own():
    model, _ = made("temporal")
    x = torch.rand(2, 6, 3, 8, 8)
    bounded(model, 3)
    # Frame by frame the encoder fits; the layers along time of the decoder see all of them.
    latents = Pieces(model).encode(x).mean
    with pytest.raises(UserError, match="out of memory: this device cannot decode one video of 4x4 latents") as caught:
        Pieces(model).decode(latents)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="float videos"):
        Pieces(model).encode(x.to(torch.uint8))

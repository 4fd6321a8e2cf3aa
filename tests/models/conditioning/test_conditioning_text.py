"""Text encoders: the same everywhere, masks that tell padding, the real classes with small weights, and quick refusals
offline.
"""

import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.curate.weights import network_check
from clipmill.models.conditioning.text.by_name import text_encoder_of
from clipmill.models.conditioning.text.characters import Characters
from clipmill.models.conditioning.text.config import TextConfig
from clipmill.models.conditioning.text.hash_words import HashWords, words_of
from clipmill.models.conditioning.text.hashed import vector_of
from clipmill.models.conditioning.text.open_clip_text import OpenClipText
from clipmill.models.conditioning.text.t5 import T5

torch.set_num_threads(1)
SENTENCE = "A red ball rolls, slowly."
ENCODERS = {"words": HashWords, "characters": Characters}
# SHA-256 of the float32 tokens (8 places of 16 channels) of SENTENCE: no machine, process or version may change them.
CHECKSUMS = {"words": "6433065db993ca78", "characters": "78e2eb98d1d2b67a"}
T5_TEXTS = ["a red ball rolls", "", "a blue ball"]


def checksum(kind):
    return hashlib.sha256(ENCODERS[kind](8, 16).encode([SENTENCE])[0].numpy().tobytes()).hexdigest()[:16]


# Without weights


@pytest.mark.parametrize("kind", ENCODERS)
def test_tokens_without_weights_never_change(kind):
    assert checksum(kind) == CHECKSUMS[kind]


@pytest.mark.slow
def test_another_process_makes_the_same_tokens():
    code = f"""
import hashlib
from clipmill.models.conditioning.text.hash_words import HashWords
print(hashlib.sha256(HashWords(8, 16).encode([{SENTENCE!r}])[0].numpy().tobytes()).hexdigest())
"""
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.startswith(CHECKSUMS["words"])


def test_vectors_of_words_are_standard_normal_and_unrelated():
    vectors = torch.stack([torch.tensor(vector_of(f"word {number}", 512)) for number in range(200)])
    assert abs(vectors.mean()) < 4 / (200 * 512) ** 0.5
    assert abs(vectors.var() - 1) < 4 * (2 / (200 * 512)) ** 0.5
    # 2.6 is the fourth moment less Irwin-Hall's 1.2 / 12.
    assert vectors.pow(4).mean().item() == pytest.approx(2.9, abs=0.1)
    likeness = (vectors @ vectors.T / 512).fill_diagonal_(0)
    assert likeness.abs().max() < 6 / 512**0.5


def test_words_and_their_order_matter_and_case_does_not():
    first, turned, other, loud = HashWords(4, 64).encode(["ball red", "red ball", "ball blue", "BALL Red"])[0]
    assert torch.equal(first, loud)
    assert torch.equal(first[0], other[0])
    assert (first[1] - other[1]).square().mean() > 0.5
    # Without places, one would be the other in another order.
    assert torch.cdist(first[:2], turned[:2]).min() > 0.5 * 64**0.5


def test_words_are_runs_of_letters_and_single_signs():
    assert words_of("Don't stop, ｅver!  2 cats") == ["don", "'", "t", "stop", ",", "ever", "!", "2", "cats"]


def test_characters_tell_anagrams_apart_and_read_any_script():
    tokens, mask = Characters(6, 64).encode(["tea", "eat", "红色的球", "a  \n b"])
    assert mask.sum(1).tolist() == [3, 3, 4, 3]
    assert (tokens[0] - tokens[1])[:3].square().mean() > 0.5


@pytest.mark.parametrize("kind", ENCODERS)
def test_captions_fill_their_places_and_no_more(kind):
    tokens, mask = ENCODERS[kind](3, 8).encode(["a b c d e", "a", "", "   "])
    assert mask.tolist() == [[True] * 3, [True, False, False], [False] * 3, [False] * 3]
    assert tokens.dtype == torch.float32
    assert tokens[~mask].abs().sum() == 0
    assert tokens[mask].abs().sum(1).min() > 0


def test_no_captions_are_no_tokens():
    tokens, mask = HashWords(3, 8).encode([])
    assert tokens.shape == (0, 3, 8)
    assert mask.shape == (0, 3)


def test_encoders_by_name_and_width():
    assert text_encoder_of(TextConfig()) is None
    assert text_encoder_of(TextConfig("hash", tokens=5)).dim == 256
    assert text_encoder_of(TextConfig("characters", tokens=5, dim=12)).dim == 12
    assert text_encoder_of(TextConfig("hash", dim=8)).name != text_encoder_of(TextConfig("hash", dim=12)).name


# T5


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory):
    """Random weights of the real classes, and a tokenizer of whole words."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("t5")
    pieces = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in ("a", "red", "blue", "ball", "rolls"))]
    tokenizer = transformers.T5Tokenizer(
        vocab=[(piece, -1.0 - number) for number, piece in enumerate(pieces)], extra_ids=0
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return folder


def test_t5_gives_the_encoders_last_layer(t5_folder):
    from transformers import AutoTokenizer, T5EncoderModel

    encoder = T5(str(t5_folder), 6)
    tokens, mask = encoder.encode(T5_TEXTS)
    assert tokens.shape == (3, 6, 16)
    assert mask.sum(1).tolist() == [5, 0, 4]
    pieces = AutoTokenizer.from_pretrained(t5_folder)([T5_TEXTS[2]], return_tensors="pt")
    with torch.no_grad():
        expected = T5EncoderModel.from_pretrained(t5_folder).eval()(**pieces).last_hidden_state[0]
    # The same caption alone and without padding.
    torch.testing.assert_close(tokens[2, :4], expected, rtol=0, atol=1e-5)
    assert tokens[2, 4:].abs().sum() == 0
    assert not tokens.requires_grad
    assert "sha256" in encoder.name


def test_t5_cuts_long_captions_before_the_end_sign(t5_folder):
    tokens, mask = T5(str(t5_folder), 3).encode(["a red ball rolls"])
    assert mask.all()
    # The end sign is no word cut off: its place is told by encoding the two words alone.
    torch.testing.assert_close(tokens[0], T5(str(t5_folder), 3).encode(["a red"])[0][0], rtol=0, atol=1e-6)


def test_t5_refuses_what_is_no_t5(t5_folder, tmp_path):
    for text, says in (
        ("{}", "type None"),
        ("{", "cannot read"),
        (json.dumps({"model_type": "t5", "d_model": 8}), "no weights"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=says):
            T5(str(tmp_path), 4)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="no T5 can be loaded"):
        T5(str(tmp_path), 4).encode(["a"])
    with pytest.raises(UserError, match=r"no config\.json"):
        T5(str(Path(__file__).parent), 4)
    with pytest.raises(UserError, match=r"leave conditioning\.text\.dim out"):
        text_encoder_of(TextConfig("t5", str(t5_folder), dim=8))


# CLIP


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    open_clip = pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("clip")
    vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
    text = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    for name, tower in (("tiny-text-test", text), ("tiny-pooled-test", text | {"pool_type": "last"})):
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 8, "vision_cfg": vision, "text_cfg": tower}))
        open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-text-test", pretrained=None).state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def test_clip_gives_its_tokens_before_pooling(clip_file):
    import open_clip

    encoder = OpenClipText("tiny-text-test", str(clip_file), 9)
    texts = ["a red ball", "", "one two three four five six seven eight nine ten"]
    tokens, mask = encoder.encode(texts)
    assert tokens.shape == (3, 9, 16)
    # Start, three words, end; nothing; all places.
    assert mask.sum(1).tolist() == [5, 0, 9]
    network = open_clip.create_model("tiny-text-test", pretrained=str(clip_file)).eval()
    with torch.no_grad():
        pooled = network.encode_text(open_clip.get_tokenizer("tiny-text-test")(texts[:1]))[0]
        torch.testing.assert_close(tokens[0, 4] @ network.text_projection, pooled, rtol=0, atol=1e-5)
    assert tokens[0, 5:].abs().sum() == 0


def test_clip_refuses_what_it_cannot_read(clip_file):
    for model, pretrained, tokens, says in (
        ("nothing", str(clip_file), 9, "no architecture"),
        ("tiny-pooled-test", str(clip_file), 9, "not CLIP's own"),
        ("tiny-text-test", str(clip_file), 13, "at most that"),
        ("", "", 9, "set conditioning.text.model"),
    ):
        with pytest.raises(UserError, match=says):
            OpenClipText(model, pretrained, tokens)
    broken = clip_file.with_name("open_clip_model.safetensors")
    broken.write_bytes(b"broken")
    with pytest.raises(UserError, match="does not fit CLIP tiny-text-test"):
        OpenClipText("tiny-text-test", str(broken.parent), 9).encode(["a"])


# The hub


def connected(monkeypatch):
    """As on a machine with a network and without a proxy."""
    for name in network_check.OFFLINE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def mute_hub(monkeypatch):
    """A hub that takes calls and says nothing."""
    constants = pytest.importorskip("huggingface_hub.constants")
    connected(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for client in ("snapshot_download", "hf_hub_download"):  # they try for minutes
            monkeypatch.setattr(f"huggingface_hub.{client}", lambda *_, **__: pytest.fail("asked the hub's own client"))
        yield


@pytest.mark.parametrize(
    "config", [TextConfig("t5", "someone/t5-nowhere"), TextConfig("open_clip", "ViT-B-32", "nowhere")]
)
def test_a_hub_that_does_not_answer_is_given_up(mute_hub, config, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPMILL_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"set conditioning\.text\.(model|pretrained)") as raised:
        text_encoder_of(config)
    assert "\n" not in str(raised.value)


class OneModel(http.server.BaseHTTPRequestHandler):
    """A hub that has someone/t5 and nothing else."""

    def do_HEAD(self):
        self.send_response(200 if self.path == "/someone/t5/resolve/main/config.json" else 404)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def small_hub(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneModel) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        constants = pytest.importorskip("huggingface_hub.constants")
        connected(monkeypatch)
        monkeypatch.setattr(
            "clipmill.models.conditioning.text.hub._ANSWER_S", 20.0
        )  # a loaded machine may hold an answer up
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield
        server.shutdown()


def test_a_hub_that_answers_is_downloaded_from(t5_folder, small_hub, monkeypatch):
    asked = []
    import huggingface_hub

    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, allow_patterns: asked.append((name, allow_patterns)) or t5_folder,
    )
    assert T5("someone/t5", 4).dim == 16
    assert asked[0][0] == "someone/t5"
    assert "model*.safetensors" in asked[0][1]
    with pytest.raises(UserError, match="does not offer it"):
        T5("someone/other", 4)
    with pytest.raises(UserError, match="does not offer it"):
        T5("no folder/and no/name", 4)

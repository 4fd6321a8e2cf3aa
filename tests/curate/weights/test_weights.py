"""Weights: the table against the packages that it names, finding and downloading from a real server, refusing quickly
and in one line.
"""

import hashlib
import io
import os
import socket
import zipfile

import huggingface_hub.constants
import numpy as np
import pytest
from helpers.commands import SHARED
from helpers.weights_server import serving

from clipmill.curate import weights
from clipmill.curate.driver.preflight import pull_names
from clipmill.curate.errors import UserError
from clipmill.curate.weights import network_check, table
from clipmill.curate.weights.digests import MEMORY_FILE, path_sha256, remembered_sha256
from clipmill.curate.weights.download import download
from clipmill.curate.weights.table import Weights

DATA = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder, no caches of other tools, a network."""
    for name in (
        *network_check.OFFLINE_VARIABLES,
        "TORCH_HOME",
        "XDG_CACHE_HOME",
        "EASYOCR_MODULE_PATH",
        "MODULE_PATH",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(network_check.silent_hosts, "__defaults__", (20.0,))  # a loaded machine may hold an answer up
    with serving() as running:
        yield running


@pytest.fixture
def publish(monkeypatch):
    """Put weights into the table."""

    def put(source, kind="file", files=("net.pth",), name="net", **facts):
        entry = Weights(name, kind, source, files, "MIT", ("test",), **facts)
        rows = {**table._table(), name: entry}
        monkeypatch.setattr(table, "_table", lambda: rows)
        return entry

    return put


def resolve_one(name="net", **options):
    return weights.resolve([name], {}, **options)[name]


def test_table_agrees_with_open_clip():
    import open_clip
    import torch
    from open_clip.coca_model import CoCa
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    from open_clip.model import CLIP

    entries = [w for w in weights.known() if w.model]
    assert len(entries) >= 6
    for entry in entries:
        assert open_clip.get_pretrained_cfg(entry.model, entry.pretrained)["hf_hub"].rstrip("/") == entry.source
        assert entry.files == (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        settings = {k: v for k, v in open_clip.get_model_config(entry.model).items() if k != "custom_text"}
        with torch.device("meta"):
            network = (CoCa if entry.model.startswith("coca") else CLIP)(**settings)
        assert sum(p.numel() for p in network.parameters()) == entry.parameters


def test_table_agrees_with_torchvision_and_easyocr():
    import torchvision
    from easyocr.config import detection_models
    from torchvision.models.optical_flow import Raft_Large_Weights

    raft, craft = weights.weights_named("raft-large"), weights.weights_named("craft")
    assert (raft.source, raft.parameters) == (
        Raft_Large_Weights.DEFAULT.url,
        Raft_Large_Weights.DEFAULT.meta["num_params"],
    )
    assert raft.files[0].endswith(f"-{raft.sha256}.pth")
    nets = {
        "inception-torchvision": torchvision.models.Inception_V3_Weights.IMAGENET1K_V1,
        "lpips-alex": torchvision.models.AlexNet_Weights.IMAGENET1K_V1,
        "lpips-squeeze": torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1,
        "lpips-vgg": torchvision.models.VGG16_Weights.IMAGENET1K_V1,
    }
    for name, published in nets.items():
        entry = weights.weights_named(name)
        assert (entry.source, entry.parameters) == (published.url, published.meta["num_params"])
        assert entry.files[0].endswith(f"-{entry.sha256}.pth")
    theirs = detection_models["craft"]
    assert (craft.source, craft.files, craft.md5) == (theirs["url"], (theirs["filename"],), theirs["md5sum"])


def test_table_agrees_with_the_published_heads():
    heads = [w for w in weights.known() if w.name.startswith("aesthetics-")]
    assert len(heads) == 4
    for entry in heads:
        path = SHARED / "weights" / entry.files[0]
        if not path.is_file():
            pytest.skip(f"no {path}")
        assert (entry.sha256, entry.size_bytes) == (weights.sha256(path), path.stat().st_size)
        assert all(value.dtype.is_floating_point for value in weights.load_state(path).values())


def test_names_can_be_settings():
    assert not any("." in entry.name or "/" in entry.name for entry in weights.known())
    assert [w.name for w in weights.known()] == sorted(w.name for w in weights.known())


def test_unknown_name_tells_the_closest():
    with pytest.raises(UserError, match=r"clip-vit-l-41.*clip-vit-l-14"):
        weights.weights_named("clip-vit-l-41")
    with pytest.raises(UserError, match="raft-large"):
        weights.resolve([], {"raft-larg": "x"})


def test_order_of_places(cache, tmp_path, monkeypatch):
    assert weights.find("craft", {}) is None
    for name, variable in (("old", "MODULE_PATH"), ("ocr", "EASYOCR_MODULE_PATH")):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "craft_mlt_25k.pth").write_bytes(b"x")
        monkeypatch.setenv(variable, str(tmp_path / name))
        assert weights.find("craft", {}) == tmp_path / name / "model" / "craft_mlt_25k.pth"
    cache.mkdir()
    (cache / "craft_mlt_25k.pth").write_bytes(b"y")
    assert weights.find("craft", {}) == cache / "craft_mlt_25k.pth"
    own = tmp_path / "own.pth"
    own.write_bytes(b"z")
    assert weights.find("craft", {"craft": str(own)}) == own
    assert weights.find(str(own), {}) == own
    with pytest.raises(UserError, match=r"weights\.craft: there is no .*gone"):
        weights.find("craft", {"craft": str(tmp_path / "gone")})
    with pytest.raises(UserError, match="there is no"):
        weights.find(str(tmp_path / "gone"), {})


def test_a_folder_in_the_working_directory_hides_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "craft").mkdir()
    assert weights.find("craft", {}) is None


def test_torch_and_hub_caches_are_found(cache, tmp_path, monkeypatch):
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    raft = checkpoints / weights.weights_named("raft-large").files[0]
    raft.write_bytes(b"x")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert weights.find("raft-large", {}) == raft
    assert weights.find("clip-vit-b-32", {}) is None
    file = _in_hub_cache(tmp_path, "timm/vit_base_patch32_clip_224.openai", "open_clip_pytorch_model.bin")
    assert weights.find("clip-vit-b-32", {}) == file
    safe = _in_hub_cache(tmp_path, "timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors")
    assert weights.find("clip-vit-b-32", {}) == safe
    cache.mkdir()
    (cache / "ViT-B-32-openai.safetensors").write_bytes(b"x")
    assert weights.find("clip-vit-b-32", {}) == cache / "ViT-B-32-openai.safetensors"


def test_a_folder_of_the_hub_counts_when_all_its_parts_are_there(tmp_path):
    repository = "Salesforce/blip2-opt-2.7b"
    _in_hub_cache(tmp_path, repository, "config.json")
    assert weights.find("blip2-opt", {}) is None
    index = b'{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}'
    folder = _in_hub_cache(tmp_path, repository, "model.safetensors.index.json", index).parent
    _in_hub_cache(tmp_path, repository, "m-1.safetensors")
    assert weights.find("blip2-opt", {}) is None
    _in_hub_cache(tmp_path, repository, "m-2.safetensors")
    assert weights.find("blip2-opt", {}) == folder


def _in_hub_cache(tmp_path, repository, file, data=b"x"):
    root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    path = root / "snapshots" / ("a" * 40) / file
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text("a" * 40)
    path.write_bytes(data)
    return path


def test_download(server, publish, cache):
    server.files["/net.pth"] = DATA
    publish(f"{server.url}/net.pth", sha256=SHA256)
    told = []
    local = resolve_one(report=lambda *state: told.append(state))
    assert local == weights.LocalWeights("net", str(cache / "net.pth"), SHA256)
    assert (cache / "net.pth").read_bytes() == DATA
    assert told[-1] == ("net", len(DATA), len(DATA))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert not [f.name for f in cache.iterdir() if ".part" in f.name]
    before = len(server.log)
    assert resolve_one() == local
    assert len(server.log) == before


def test_a_connection_cut_again_and_again_goes_on_where_it_stopped(server, publish):
    server.files["/net.pth"], server.cuts = DATA, [400_000] * 7
    publish(f"{server.url}/net.pth", sha256=SHA256)
    assert resolve_one().sha256 == SHA256
    asked = [wanted for method, _, wanted in server.log if method == "GET"]
    assert asked == [None, *(f"bytes={400_000 * k}-" for k in range(1, 8))]
    assert server.sent_bytes == len(DATA)


def test_the_next_run_goes_on(server, tmp_path):
    server.files["/net.pth"], server.cuts = DATA, [1_000_000, *[0] * 20]
    part = tmp_path / "net.part"
    with pytest.raises(UserError, match="after 1000000 bytes, the same command goes on"):
        download(f"{server.url}/net.pth", part, pause_s=0.01)
    server.cuts = []
    download(f"{server.url}/net.pth", part)
    assert part.read_bytes() == DATA
    assert server.sent_bytes == len(DATA)
    download(f"{server.url}/net.pth", part)
    assert part.read_bytes() == DATA
    assert server.sent_bytes == len(DATA)


def test_a_part_of_another_version_is_not_continued(server, tmp_path):
    server.files["/net.pth"], server.cuts = DATA, [1_000_000, *[0] * 20]
    part = tmp_path / "net.part"
    with pytest.raises(UserError):
        download(f"{server.url}/net.pth", part, pause_s=0.01)
    server.cuts, server.files["/net.pth"] = [], DATA[::-1]
    download(f"{server.url}/net.pth", part)
    assert part.read_bytes() == DATA[::-1]


def test_a_server_without_ranges(server, publish):
    server.files["/net.pth"], server.cuts, server.ranges = DATA, [1_000_000], False
    publish(f"{server.url}/net.pth", sha256=SHA256)
    assert resolve_one().sha256 == SHA256


@pytest.mark.parametrize("checksum", [{"sha256": "00ff"}, {"md5": "00ff"}])
def test_something_else_is_served(server, publish, cache, checksum):
    server.files["/net.pth"] = DATA
    publish(f"{server.url}/net.pth", **checksum)
    with pytest.raises(UserError, match=r"served something else: .*; nothing was kept") as caught:
        resolve_one()
    assert "\n" not in str(caught.value)
    assert [f.name for f in cache.iterdir()] == ["net.pth.lock"]


def test_not_found_is_said_at_once(server, publish, cache):
    publish(f"{server.url}/gone.pth")
    with pytest.raises(UserError, match=r"gone\.pth: the server says 404"):
        resolve_one()
    assert not (cache / "net.pth").exists()


def test_archive(server, publish, cache):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("net.pth", DATA)
    server.files |= {"/net.zip": packed.getvalue(), "/bad.zip": DATA}
    publish(f"{server.url}/net.zip", md5=hashlib.md5(DATA).hexdigest())
    assert resolve_one().sha256 == SHA256
    assert sorted(f.name for f in cache.iterdir()) == ["net.pth", "net.pth.lock"]
    publish(f"{server.url}/bad.zip", name="bad", files=("bad.pth",))
    with pytest.raises(UserError, match="nothing was kept"):
        resolve_one("bad")


def _hub_at(url, monkeypatch):
    """As HF_ENDPOINT does for a new process."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )


def test_the_hub_gives_safetensors_or_else_the_other_file(server, publish, monkeypatch):
    _hub_at(server.url, monkeypatch)
    files = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    publish("a/plain", "hub", files, "plain")
    publish("a/both", "hub", files, "both")
    for repository, names in (("a/plain", files[1:]), ("a/both", files)):
        server.files |= {
            f"/{repository}/resolve/{place}/{name}": DATA for name in names for place in ("main", "a" * 40)
        }
    assert [resolve_one(name).path.rpartition("/")[2] for name in ("plain", "both")] == [files[1], files[0]]
    before = len(server.log)
    assert resolve_one("both").sha256 == SHA256
    assert len(server.log) == before
    publish("a/none", "hub", files, "none")
    with pytest.raises(UserError, match="none from a/none: ") as caught:
        resolve_one("none")
    assert "\n" not in str(caught.value)


def test_a_folder_of_the_hub(server, publish, monkeypatch):
    _hub_at(server.url, monkeypatch)
    files = {"config.json": b"{}", "model.safetensors": DATA, "model.bin": b"unwanted"}
    server.files |= {
        f"/a/b/resolve/{place}/{name}": data for name, data in files.items() for place in ("main", "a" * 40)
    }
    publish("a/b", "hub", ("*.json", "*.safetensors"), folder=True)
    local = resolve_one()
    assert sorted(os.listdir(local.path)) == ["config.json", "model.safetensors"]
    lines = "".join(f"{hashlib.sha256(files[n]).hexdigest()}  {n}\n" for n in ("config.json", "model.safetensors"))
    assert local.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert resolve_one() == local


@pytest.fixture(params=["closed port", "no answer", "no such name", "dead proxy"])
def silent_url(request, monkeypatch):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        if request.param == "no answer":
            listening.listen()
        if request.param == "dead proxy":
            monkeypatch.setenv("no_proxy", "")
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        host = {"no such name": "weights.invalid", "dead proxy": "weights.example"}.get(
            request.param, f"127.0.0.1:{port}"
        )
        yield f"http://{host}/net.pth"


def test_no_network_is_said_in_one_line(silent_url, publish, cache):
    publish(silent_url, size_bytes=1_234_567_890)
    with pytest.raises(
        UserError, match=r"not answer.*net \(1\.23 GB\).*curate weights pull net`.*--set weights\.net=PATH"
    ) as caught:
        resolve_one()
    assert str(cache) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", [None, "CLIPMILL_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_touches_no_network(variable, server, publish, monkeypatch):
    server.files["/net.pth"] = DATA
    publish(f"{server.url}/net.pth")
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(UserError, match="downloads are switched off"):
        resolve_one(offline=variable is None)
    assert server.log == []


def test_one_missing_keeps_the_others_from_being_downloaded(server, publish):
    """What cannot be had is said before gigabytes are fetched."""
    server.files["/net.pth"] = DATA
    publish(f"{server.url}/net.pth")
    publish("http://127.0.0.1:9/far.pth", name="far", files=("far.pth",))
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 does not answer"):
        weights.resolve(["net", "far"], {})
    assert server.sent_bytes == 0


def test_a_file_of_the_cache_is_the_published_one_and_a_named_one_need_not_be(publish, cache, tmp_path):
    publish("http://127.0.0.1:9/net.pth", sha256=SHA256)
    cache.mkdir()
    (cache / "net.pth").write_bytes(b"else")
    with pytest.raises(UserError, match="is not the published net"):
        resolve_one()
    own = tmp_path / "own.pth"
    own.write_bytes(b"own")
    expected = hashlib.sha256(b"own").hexdigest()
    assert weights.resolve(["net"], {"net": str(own)})["net"] == weights.LocalWeights("net", str(own), expected)
    assert weights.resolve([str(own)], {})[str(own)].sha256 == expected


def test_a_large_file_that_was_replaced_has_another_digest(cache, tmp_path):
    path = tmp_path / "large"
    for data in (DATA * 2, DATA[::-1] * 2):
        path.write_bytes(data)
        os.utime(path, ns=(10**18, 10**18))
        for _ in range(2):
            assert remembered_sha256(path) == hashlib.sha256(data).hexdigest()
    cache.mkdir(exist_ok=True)
    (cache / MEMORY_FILE).write_text("[broken")
    assert remembered_sha256(path) == hashlib.sha256(DATA[::-1] * 2).hexdigest()


def test_digest_of_a_folder_ignores_hidden_notes_and_sees_names(tmp_path):
    for name, data in (("a/one", b"1"), ("two", b"2"), (".cache/note", b"n")):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(data)
    first = path_sha256(tmp_path / "f")
    (tmp_path / "f/.cache/note").write_bytes(b"m")
    assert path_sha256(tmp_path / "f") == first
    (tmp_path / "f/two").rename(tmp_path / "f/three")
    assert path_sha256(tmp_path / "f") != first
    with pytest.raises(UserError, match="holds no weights"):
        path_sha256(tmp_path / "f", ("*.safetensors",))


class Touching:
    """A pickle that would write a file when loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_loading_runs_nothing_and_says_what_is_wrong(tmp_path):
    import torch
    from safetensors.torch import save_file

    state = {"weight": torch.arange(6.0).view(2, 3)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        assert torch.equal(weights.load_state(tmp_path / name)["weight"], state["weight"])
        (tmp_path / f"cut-{name}").write_bytes((tmp_path / name).read_bytes()[:-20])
    torch.save({"weight": Touching(str(tmp_path / "touched"))}, tmp_path / "code.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    (tmp_path / "page.pth").write_bytes(b"\n<!DOCTYPE html><html></html>")
    (tmp_path / "pointer.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "empty.pth").touch()
    problems = {
        "cut-a.safetensors": "cannot be read", "cut-a.pth": "cannot be read", "code.pth": "nothing of it was run",
        "numbers.pth": "no tensors", "page.pth": "web page", "pointer.safetensors": "git-lfs",
        "empty.pth": "empty", "gone.pth": "No such file", ".": "directory",
    }  # fmt: skip
    for name, problem in problems.items():
        with pytest.raises(UserError, match=problem) as caught:
            weights.load_state(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "touched").exists()


def test_list_says_what_is_here(cache, server, publish):
    server.files["/net.pth"] = DATA
    publish(f"{server.url}/net.pth", size_bytes=len(DATA))
    assert _line("net").split() == ["net", "3", "MB", "test", "MIT", "no"]
    assert weights.pull("net") == cache / "net.pth"
    assert _line("net").endswith(str(cache / "net.pth"))
    assert len(weights.list_lines()) == len(weights.known()) + 1


def _line(name):
    return next(line for line in weights.list_lines() if line.split()[0] == name)


def test_what_evaluate_and_models_need_is_in_the_table():
    users = {entry.name: set(entry.used_by) for entry in weights.known()}
    assert {"i3d", "inception-fid", "videomae", "lpips-alex"} <= {n for n, by in users.items() if "evaluate" in by}
    assert {"t5-v1_1-xxl", "clip-vit-h-14-laion2b", "lpips-vgg"} <= {n for n, by in users.items() if "models" in by}


def test_weights_that_nobody_may_fetch_are_to_be_brought(cache):
    assert "no; bring it yourself: rgb_scratch of github.com" in _line("i3d")
    with pytest.raises(UserError, match=r"^i3d is not downloaded for you: take rgb_scratch .* or rgb_scratch into "):
        weights.pull("i3d")
    (cache / "rgb_scratch").mkdir(parents=True)
    assert _line("i3d").endswith(str(cache / "rgb_scratch"))


def test_the_first_of_several_that_is_here_is_taken_and_what_to_put_where_is_said(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    wanted = [weights.weights_named(name) for name in ("inception-fid", "inception-torchvision")]
    if weights.find("inception-fid", {}) is None and weights.find("inception-torchvision", {}) is None:
        with pytest.raises(UserError) as caught:
            weights.located("Inception-v3", wanted, None)
        assert "inception_v3_google-0cc3c7bd.pth into" in str(caught.value)
        assert "`curate weights pull inception-fid` or `curate weights pull inception-torchvision`" in str(caught.value)
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("inception_v3_google-0cc3c7bd.pth", "weights-inception-2015-12-05-6726825d.pth"):
        (cache / name).touch()
        assert weights.located("Inception-v3", wanted, None) == cache / name
    (tmp_path / "prefix.index").touch()
    assert weights.located("I3D", wanted, tmp_path / "prefix") == tmp_path / "prefix"
    with pytest.raises(UserError, match=r"no weights for I3D at .*gone: there is no such file"):
        weights.located("I3D", wanted, tmp_path / "gone")


def test_what_a_name_or_a_preset_pulls():
    assert pull_names("raft-large") == ["raft-large"]
    assert pull_names("default") == []
    with pytest.raises(UserError, match="raft-large"):
        pull_names("raft-larg")

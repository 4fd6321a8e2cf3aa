"""CoCa and vision-language networks through the real loading and writing code, with small random networks of the same
classes.
"""

import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.annotator_clips import clip
from helpers.caption_server import caption_of, serving
from helpers.commands import curate
from helpers.small_clip import write_clip
from helpers.small_coca import write_coca
from helpers.small_vlm import SPECIAL, WORDS, write_blip2, write_llava
from safetensors.torch import load_file

from clipmill.curate.annotators import annotator_class
from clipmill.curate.annotators.caption_coca import CaptionCoca
from clipmill.curate.annotators.caption_video import CaptionVideo
from clipmill.curate.captions.beam_search import Beams
from clipmill.curate.captions.coca import Coca
from clipmill.curate.captions.vision_language import CHAT_PROMPT, VisionLanguage
from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.dataset import pick_caption
from clipmill.curate.errors import AnnotatorError, UserError

pytestmark = pytest.mark.slow


torch.set_num_threads(1)


@pytest.fixture(scope="module")
def coca(tmp_path_factory):
    return write_coca(tmp_path_factory.mktemp("coca") / "coca")


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    return write_blip2(tmp_path_factory.mktemp("blip2") / "blip2")


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return write_llava(tmp_path_factory.mktemp("llava") / "llava")


def pictures(n, seed=0):
    """Noise of different brightness."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255 // (i + 1), (48, 64, 3), np.uint8) for i in range(n)]


# Beam search, on chains of words whose chances are known.


def chain(seed, words=5):
    """Log chances of each word after each, of which word 0 pads, 1 begins and 2 ends."""
    table = torch.randn(words, words, generator=torch.Generator().manual_seed(seed)) * 2
    table[:, :2] = -torch.inf
    return table


def score(table, written):
    """Mean log chance of a text."""
    steps = table.clone()
    steps[:, :2] = -torch.inf
    chances = steps.log_softmax(-1)
    return float(sum(chances[a, b] for a, b in itertools.pairwise([1, *written])) / len(written))


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_search_finds_the_likeliest_of_all_texts(seed):
    table = chain(seed)
    tokens, ended = Beams(200, longest=3, shortest=0, start=1, end=2, pad=0).best(
        lambda rows: table[rows[:, -1]], 1, "cpu"
    )
    texts = [(*body, 2) for n in range(4) for body in itertools.product((3, 4), repeat=n)]
    texts += list(itertools.product((3, 4), repeat=4))
    found = tuple(t for t in tokens[0, 1:].tolist() if t != 0)
    assert score(table, found) == pytest.approx(max(score(table, text) for text in texts), abs=1e-5)
    assert ended == [found[-1] == 2]


def test_one_beam_takes_the_likeliest_word_each_time_and_every_row_by_itself():
    tables = torch.stack([chain(seed, 9) for seed in (1, 2, 3)])
    beams = Beams(1, longest=6, shortest=2, start=1, end=2, pad=0)
    tokens, _ = beams.best(lambda rows: tables[torch.arange(3), rows[:, -1]], 3, "cpu")
    for row, table in zip(tokens.tolist(), tables, strict=True):
        for i, (before, word) in enumerate(itertools.pairwise(row)):
            if before == 2 or word == 0:
                assert word == 0
                continue
            chances = table[before].clone()
            if i < 2:
                chances[2] = -torch.inf
            assert word == int(chances.argmax())
        assert 2 not in row[1:3]


def test_more_beams_never_find_a_less_likely_text_here():
    """Ten random chains; a wider search of the same texts is at least as good in the mean."""
    means = []
    for count in (1, 4, 16):
        beams = Beams(count, longest=5, shortest=0, start=1, end=2, pad=0)
        tables = [chain(seed, 12) for seed in range(10)]
        found = [
            beams.best(lambda rows, table=table: table[rows[:, -1]], 1, "cpu")[0][0, 1:].tolist() for table in tables
        ]
        means.append(np.mean([score(table, [t for t in row if t]) for table, row in zip(tables, found, strict=True)]))
    assert means[0] < means[1] <= means[2] + 1e-6


# CoCa.


def test_coca_writes_what_its_own_decoder_finds_likeliest(coca):
    """One beam, word by word, against open_clip's forward pass over the whole text."""
    made = Coca(str(coca), coca, "cpu", n_beams=1, max_tokens=8)
    picture = pictures(1)[0]
    network, tokenizer = made._clip.network, made._clip.tokenizer
    image, tokens = made._clip.ready(picture)[None], [tokenizer.sot_token_id]
    with torch.inference_mode():
        while len(tokens) < 10:
            logits = network(image, torch.tensor([tokens]), output_labels=False)["logits"][0, -1]
            logits[[0, tokenizer.sot_token_id, *([tokenizer.eot_token_id] if len(tokens) < 6 else [])]] = -torch.inf
            tokens.append(int(logits.argmax()))
    assert made.captions([picture])[0][0] == tokenizer.decode(tokens[1:]).strip()


def test_coca_does_not_mix_up_pictures_of_a_batch(coca):
    made = Coca(str(coca), coca, "cpu", n_beams=3, max_tokens=8)
    three = pictures(3)
    together = made.captions(three)
    assert together == [made.captions([picture])[0] for picture in three]
    assert len({text for text, _ in together}) > 1
    assert made.captions(three) == together


def test_coca_annotates_the_middle_picture(coca):
    annotator = CaptionCoca(network=str(coca), max_tokens=8, n_beams=2)
    annotator.check()
    write = annotator.load("cpu", {str(coca): coca})
    clips = [clip([picture], [0.5], roles=("middle",)) for picture in pictures(2)]
    rows = write(clips)
    assert all(row["caption_coca"] and isinstance(row["caption_coca_flags"], list) for row in rows)
    assert annotator.model == "coca"
    assert annotator.sample_weight == 0.5
    assert annotator.params() == {"n_beams": 2, "max_tokens": 8}
    with pytest.raises(AnnotatorError, match="no stored picture"):
        write([clip(roles=())])


def test_a_network_that_does_not_write_is_refused(tmp_path):
    folder = write_clip(tmp_path / "clip")
    with pytest.raises(UserError, match="does not write"):
        Coca(str(folder), folder, "cpu", 1, 5)


# Vision-language networks.


@pytest.mark.parametrize("kind", ["blip2", "llava"])
def test_networks_write_the_same_alone_and_together(kind, request):
    network = VisionLanguage(request.getfixturevalue(kind), "cpu")
    clips = [pictures(3, seed) for seed in range(3)]
    together = network.captions(clips, None, 12, 3)
    assert together == [network.captions([one], None, 12, 3)[0] for one in clips]
    assert together == network.captions(clips, None, 12, 3)
    assert set(" ".join(text for text, _ in together).split()) <= set(WORDS)


def test_questions_of_different_lengths_do_not_disturb_each_other(llava):
    network = VisionLanguage(llava, "cpu")
    clips = [pictures(1, 1), pictures(3, 2)]
    assert network.captions(clips, None, 12, 1) == [network.captions([one], None, 12, 1)[0] for one in clips]


@pytest.mark.parametrize("kind", ["blip2", "llava"])
def test_every_picture_is_seen(kind, request):
    network = VisionLanguage(request.getfixturevalue(kind), "cpu")
    base = pictures(3)
    texts = {network.captions([base], None, 20, 1)[0][0]}
    for place in range(3):
        changed = [*base]
        changed[place] = 255 - base[place]
        texts.add(network.captions([changed], None, 20, 1)[0][0])
    assert len(texts) == 4


def test_blip2_with_one_picture_writes_as_transformers_does(blip2):
    from PIL import Image
    from transformers import AddedToken, Blip2ForConditionalGeneration, Blip2Processor

    picture = pictures(1)[0]
    processor, network = (
        Blip2Processor.from_pretrained(blip2),
        Blip2ForConditionalGeneration.from_pretrained(blip2).eval(),
    )
    processor.image_token = AddedToken("<image>", normalized=False, special=True)
    inputs = processor(images=Image.fromarray(picture), text="", return_tensors="pt")
    tokens = network.generate(**inputs, max_new_tokens=10, do_sample=False)
    plain = processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)[0].strip()
    assert VisionLanguage(blip2, "cpu").captions([[picture]], None, 10, 1)[0][0] == plain


def test_blip2_lets_the_qformer_look_at_the_patches_of_all_pictures(blip2):
    """The same picture twice is the same as once: attention over doubled patches is the same mean."""
    network = VisionLanguage(blip2, "cpu")
    one, two = pictures(2)
    assert network.captions([[one, one]], None, 12, 1) == network.captions([[one]], None, 12, 1)
    assert network.captions([[one, two]], None, 12, 1) == network.captions([[two, one]], None, 12, 1)
    seen = []
    hook = network._network.qformer.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["encoder_hidden_states"].shape), with_kwargs=True
    )
    network.captions([[one, two], [two, one]], None, 2, 1)
    hook.remove()
    assert tuple(seen[0][:2]) == (2, 2 * (4 * 4 + 1))


def test_a_chat_network_is_asked_by_its_own_template(llava, monkeypatch):
    network = VisionLanguage(llava, "cpu")
    asked = []
    generate = network._network.generate

    def spy(**inputs):
        asked.append(inputs["input_ids"])
        return generate(**inputs)

    monkeypatch.setattr(network._network, "generate", spy)
    text, _ = network.captions([pictures(2)], "the red dog", 6, 1)[0]
    assert (asked[0] == SPECIAL.index("<image>")).sum() == 2 * (4 * 4)
    assert "dog" in network._processor.tokenizer.decode(asked[0][0])
    assert not text.startswith("the red dog")  # the question is no part of the answer
    network.captions([pictures(2)], None, 6, 1)
    assert asked[1].shape[1] > asked[0].shape[1]
    assert CHAT_PROMPT.startswith("These are frames")


def test_a_video_annotator_takes_clips_with_fewer_pictures(blip2):
    annotator = CaptionVideo(network=str(blip2), max_tokens=8, n_beams=1)
    annotator.check()
    write = annotator.load("cpu", {str(blip2): blip2})
    whole = clip(pictures(3), [0, 1, 2], roles=ROLES)
    half = replace(whole, frames=whole.frames[:2], roles=ROLES[:2])
    rows = write([whole, half])
    assert rows == [write([whole])[0], write([half])[0]]
    assert annotator.weights == (str(blip2),)
    assert "network" not in annotator.params()
    assert replace(annotator, roles=("middle",)).params() != annotator.params()
    for values in ({"roles": ("second",)}, {"roles": ()}, {"max_tokens": 0}):
        with pytest.raises(UserError):
            replace(annotator, **values).check()


def test_damaged_foreign_and_half_networks_are_told_in_one_line(blip2, tmp_path):
    def changed(name, change):
        folder = shutil.copytree(blip2, tmp_path / name)
        change(folder)
        with pytest.raises(UserError) as caught:
            VisionLanguage(folder, "cpu")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def pickled(folder):
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()

    def foreign(folder):
        config = json.loads((folder / "config.json").read_text())
        config |= {
            "model_type": "mine",
            "auto_map": {"AutoConfig": "mine.Config", "AutoModelForImageTextToText": "mine.Model"},
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    assert "config.json" in changed("a", lambda f: (f / "config.json").unlink())
    assert "cannot be loaded" in changed("b", lambda f: (f / "model.safetensors").write_bytes(b"<html>"))
    assert "cannot be loaded" in changed("c", pickled)  # pickles are not read
    assert "cannot be loaded" in changed("d", foreign)
    assert not (tmp_path / "ran").exists()


# All of the paper's captions in one command.


def test_the_captions_of_the_svd_paper_in_one_command(demo_run, tmp_path, coca, blip2):
    run = shutil.copytree(demo_run, tmp_path / "run")
    with serving() as server:
        sets = [
            f"caption_coca.network={coca}",
            f"caption_video.network={blip2}",
            f"caption_merge.base_url={server.url}",
        ]
        sets += [
            "caption_merge.model=tiny-llm",
            "caption_coca.max_tokens=6",
            "caption_coca.n_beams=1",
            "caption_video.max_tokens=6",
        ]
        sets += ["caption_video.n_beams=1", "caption_merge.timeout_s=9"]
        # merge first: it still waits for those it merges
        curate(
            "annotate",
            run,
            "--only",
            "caption_merge,caption_coca,caption_video,caption_attributes",
            *(f"--set={s}" for s in sets),
        )
        texts = {caption_of(question): content for question, content in server.contents.items()}
    rows = pq.read_table(run / "manifest.parquet").to_pylist()
    merged = [row for row in rows if row["caption_merge"] is not None]
    assert merged
    for row in merged:
        assert texts[row["caption_merge"]].endswith(f"1. {row['caption_coca']}\n2. {row['caption_video']}")
        weights = {c["source"]: c["sample_weight"] for c in row["captions"]}
        assert {name: weights[name] for name in ("coca", "video", "merge")} == {
            "coca": 0.5,
            "video": 0.25,
            "merge": 0.25,
        }
        models = {c["source"]: c["model"] for c in row["captions"]}
        assert (models["coca"], models["video"], models["merge"]) == ("coca", "blip2", "tiny-llm")
    scored = [row for row in rows if dict(row["score_status"])["caption_attributes"] != "not_run"]
    assert all(row["caption_attributes"].startswith(("A ", "An ")) for row in scored)
    assert any("Text on the screen reads" in row["caption_attributes"] for row in scored)
    docs = json.loads((run / "run.json").read_text())["column_docs"]
    for name in ("coca", "video", "merge", "attributes"):
        columns = annotator_class(f"caption_{name}").columns
        for column in (f"caption_{name}", f"caption_{name}_flags"):
            assert docs[column] == columns[column].doc
            assert len(docs[column]) > 8
    left = [row["score_status"] for row in scored if row["caption_merge"] is None]
    assert all(dict(status)["caption_merge"] == "error" for status in left)
    picked = [
        pick_caption(
            [c for c in merged[0]["captions"] if c["source"] in ("coca", "video", "merge")], np.random.default_rng(i)
        )
        for i in range(400)
    ]
    shares = [picked.count(merged[0][f"caption_{name}"]) / 400 for name in ("coca", "video", "merge")]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.08)

"""Captions from a server, against a real one on loopback: through the real command, then the client's manners one by
one.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.annotator_clips import clip
from helpers.caption_server import caption_of, serving
from helpers.commands import curate, invoke, one_line

from clipmill.curate.annotators.caption_merge import CaptionMerge
from clipmill.curate.annotators.caption_server import CaptionServer
from clipmill.curate.captions.chat import Chat, Endpoint, backoff_s, read_answer
from clipmill.curate.captions.rate_limit import RateLimit
from clipmill.curate.captions.transport import ChatError, json_request
from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.contract.captions import caption
from clipmill.curate.errors import AnnotatorError, UserError

KEY = "sk-not-a-real-key-8d1f"
NAME = "caption_server"


def settings(server, **values):
    """--set arguments: tries that follow soon, and time for an answer that a loaded machine holds up."""
    given = {"base_url": server.url, "model": "tiny-vlm", "timeout_s": 20, "backoff_s": 0.02, "retries": 2} | values
    return [argument for name, value in given.items() for argument in ("--set", f"{NAME}.{name}={value}")]


def rows(run, name=NAME):
    """clip id -> row, over all parts."""
    parts = sorted((run / "annotations" / f"{name}.v1").glob("*.parquet"))
    return {row["clip_id"]: row for part in parts for row in pq.read_table(part).to_pylist()}


@pytest.fixture
def run(demo_run, tmp_path):
    return shutil.copytree(demo_run, tmp_path / "run")


PLAN = [
    ["429", "good"],
    ["500", "garbage", "good"],
    ["500"],
    ["garbage"],
    ["hang"],
    ["drop"],
    ["refuse"],
    ["400"],
    ["blank"],
    ["hang", "good"],
]
KINDS = ["http 500", "garbage", "timeout", "dropped", "refusal", "http 400", "garbage"]


def test_every_clip_ends_captioned_or_with_its_error_and_a_second_command_asks_only_for_those(run, monkeypatch):
    monkeypatch.setenv("CAPTION_KEY", KEY)
    with serving(PLAN, key=KEY) as server:
        hasty = settings(server, key_variable="CAPTION_KEY", timeout_s=4)  # what hangs is waited for
        curate("annotate", run, "--only", NAME, *hasty)
        first, asked = rows(run), dict(server.asked)
        scored = {clip_id for clip_id, row in first.items() if row["status"] != "not_run"}
        errors = {clip_id for clip_id in scored if first[clip_id]["status"] == "error"}
        assert len(asked) == len(scored) > len(PLAN)  # each asked for, none lost
        assert sorted(first[c]["error"].partition(":")[0] for c in errors) == sorted(KINDS)
        assert {first[c]["caption_server"] for c in scored - errors} <= {caption_of(question) for question in asked}
        assert all(first[c]["caption_server_flags"] == ["boilerplate"] for c in scored - errors)
        assert server.problems == []
        assert asked[next(iter(asked))] == ["429", "good"]
        failed = [question for question, actions in asked.items() if actions[-1] != "good"]
        server.plan, before = [], {question: len(actions) for question, actions in asked.items()}
        curate("annotate", run, "--only", NAME, "--retry-errors", *settings(server, key_variable="CAPTION_KEY"))
        second = rows(run)
        again = [question for question in server.asked if len(server.asked[question]) > before[question]]
    assert all(second[c]["status"] == "ok" for c in scored)
    assert all(second[c] == first[c] for c in scored - errors)
    assert sorted(again) == sorted(failed)
    assert not any(KEY in path.read_text("utf-8", "replace") for path in run.rglob("*") if path.is_file())
    captions = pq.read_table(run / "manifest.parquet", columns=["captions", "clip_id"]).to_pylist()
    made = {row["clip_id"]: [c for c in row["captions"] if c["source"] == "server"] for row in captions}
    assert all(made[c][0]["text"] == second[c]["caption_server"] and made[c][0]["model"] == "tiny-vlm" for c in scored)


def test_killed_in_the_middle_it_goes_on_and_keeps_the_captions_of_finished_videos(run):
    with serving(delay_s=0.05) as server:
        command = [
            sys.executable,
            "-m",
            "clipmill.curate.cli",
            "annotate",
            str(run),
            "--only",
            NAME,
            *settings(server, concurrency=1),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        end_s = time.monotonic() + 60
        while len(rows(run)) < 8 and time.monotonic() < end_s:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kept, before = rows(run), {question: len(actions) for question, actions in server.asked.items()}
        assert kept
        server.delay_s = 0.0
        curate("annotate", run, "--only", NAME, *settings(server, concurrency=4))
        done = rows(run)
        again = {
            caption_of(question)
            for question, actions in server.asked.items()
            if question in before and len(actions) > 1
        }
    assert len(done) > len(kept), "it was killed too late to tell"
    assert all(row["status"] in ("ok", "not_run") for row in done.values())
    assert all(done[clip_id] == row for clip_id, row in kept.items())
    assert not again & {row["caption_server"] for row in kept.values()}


def test_without_a_server_one_line_says_so_before_any_clip(run):
    done = invoke(
        "curate",
        "annotate",
        run,
        "--only",
        NAME,
        "--set",
        f"{NAME}.base_url=http://127.0.0.1:9/v1",
        "--set",
        f"{NAME}.model=m",
    )
    one_line(done, "http://127.0.0.1:9/v1", "refused")
    assert not rows(run)


# The client by itself.


def pictures(n=1, seed=0):
    """Clips of three noisy pictures."""
    frames = np.random.default_rng(seed).integers(0, 255, (n, 3, 48, 64, 3), np.uint8)
    return [replace(clip(list(frames[i]), [0, 0.5, 1], roles=ROLES), clip_id=f"clip-{i}") for i in range(n)]


def asking(server, **values):
    """What a loaded annotator asks."""
    annotator = CaptionServer(
        **({"base_url": server.url, "model": "tiny-vlm", "timeout_s": 20.0, "backoff_s": 0.01} | values)
    )
    return annotator.load("cpu", {"./p.txt": values.get("prompt_file")} if "prompt_file" in values else {})


def test_one_clip_that_fails_costs_the_others_nothing():
    clips = pictures(6)
    clips[2] = clip(roles=())  # no stored picture
    with serving([["good"], ["400"]]) as server:
        found = asking(server, concurrency=1)(clips)
        assert server.counts == {"good": 4, "400": 1}
    assert isinstance(found[1], AnnotatorError)
    assert str(found[1]) == "http 400: context too long"
    assert str(found[2]) == "no stored picture"
    assert [isinstance(row, dict) for row in found] == [True, False, False, True, True, True]


def test_requests_run_side_by_side_up_to_the_setting():
    with serving(delay_s=0.15) as server:
        asking(server, concurrency=5)(pictures(10))
        assert server.at_once == 5


def test_the_question_holds_the_settings_and_the_chosen_pictures(tmp_path):
    (tmp_path / "p.txt").write_text("Tell all.\n", encoding="utf-8")
    with serving() as server:
        annotator = CaptionServer(base_url=server.url, model="tiny-vlm", prompt_file="p.txt", roles=("middle",))
        assert annotator.weights == ("./p.txt",)
        ask = annotator.load("cpu", {"./p.txt": tmp_path / "p.txt"})
        one = pictures()[0]
        ask([replace(one, frames=one.frames[1:2], roles=("middle",))])
        assert server.problems == []
        (content,) = server.contents.values()
    assert [part["type"] for part in content] == ["image_url", "text"]
    assert content[-1]["text"] == "Tell all."


def test_an_answer_that_was_cut_off_loses_its_last_sentence():
    with serving([["cut"], ["open"]]) as server:
        cut, whole = asking(server, concurrency=1)(pictures(2))
    assert cut == {"caption_server": "A man walks along the beach.", "caption_server_flags": ["unfinished"]}
    # the server says that the model was done: the full stop is all that is missing
    assert whole == {"caption_server": "A man walks along the beach. He carries a bag", "caption_server_flags": []}


def test_retry_after_holds_for_all_threads():
    with serving([["429", "good"]]) as server:
        server.retry_after = "0.6"
        ask = asking(server, concurrency=1)
        ask(pictures(3))
        gaps = np.diff(server.times_s)
    assert gaps[0] >= 0.6
    assert server.counts == {"429": 1, "good": 3}


def test_a_server_that_asks_for_an_hour_is_not_waited_for():
    with serving([["429"]]) as server:
        server.retry_after = "3600"
        (row,) = asking(server)(pictures())
        assert server.counts == {"429": 1}
    assert str(row) == "http 429: slow down"


def test_retry_after_may_be_a_date():
    with serving([["429"]]) as server:
        server.retry_after = "Fri, 01 Jan 2100 00:00:00 GMT"
        with pytest.raises(ChatError) as caught:
            json_request(f"{server.url}/chat/completions", {"messages": [{"content": "x"}]}, {}, 1.0)
    assert caught.value.wait_s > 1e8


def test_the_rate_is_shared_and_spread():
    clock = [0.0]
    limit = RateLimit(120, lambda: clock[0], lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    begun = []
    for i in range(5):
        limit.wait()
        begun.append(clock[0])
        if i == 2:
            limit.pause(10)
    assert begun == pytest.approx([0, 0.5, 1.0, 11.0, 11.5])


def test_pauses_double_and_belong_to_the_clip():
    pauses = [backoff_s(1.0, "clip", tries) for tries in range(1, 8)]
    assert pauses == [backoff_s(1.0, "clip", tries) for tries in range(1, 8)]
    assert all(min(2.0**i, 30) / 2 <= pause <= min(2.0**i, 30) for i, pause in enumerate(pauses))
    assert len({backoff_s(1.0, f"clip-{i}", 1) for i in range(20)}) == 20


def test_a_server_that_died_is_not_tried_in_vain_for_every_clip():
    """Each clip still gets one try, so that the rest is captioned where the server comes back."""
    with closed_port() as port:
        chat = Chat(Endpoint(f"http://127.0.0.1:{port}/v1", "m", retries=3, backoff_s=0.001))
        tries = []
        for i in range(20):
            with pytest.raises(ChatError) as caught:
                chat.ask(f"{i}", [], {})
            tries.append(str(caught.value))
    assert all(text.startswith("refused") for text in tries)
    assert "(4 tries)" in tries[0]
    assert "tries" not in tries[-1]


@contextmanager
def closed_port():
    """A port nobody listens on, and nobody can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_key_shows_in_no_message_and_no_parameter(monkeypatch):
    monkeypatch.setenv("CAPTION_KEY", KEY)
    with serving(key="another") as server:
        annotator = CaptionServer(base_url=server.url, model="tiny-vlm", key_variable="CAPTION_KEY")
        (row,) = annotator.load("cpu", {})(pictures())
        assert str(row) == "http 401: bad key Bearer ..."
    assert KEY not in json.dumps(annotator.params()) + repr(annotator)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"key_variable": "sk-1234"}, "not the key itself"),
        ({"key_variable": "CLIPMILL_UNSET_KEY"}, "is not set"),
        ({"base_url": "http://me:secret@127.0.0.1/v1"}, "key_variable"),
        ({"base_url": "127.0.0.1:8000"}, "is an address"),
        ({"model": ""}, "the server has tiny-vlm"),
        ({"roles": ("second",)}, "first, middle, last"),
        ({"concurrency": 0}, "more than 0"),
    ],
)
def test_settings_are_checked_in_one_line(values, words, monkeypatch):
    monkeypatch.setattr("clipmill.curate.captions.served._ANSWER_S", 20.0)  # a loaded machine may hold an answer up
    with serving() as server, pytest.raises(UserError, match=words) as caught:
        CaptionServer(**({"base_url": server.url, "model": "m"} | values)).check()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value).replace("holds a secret", "")
    assert "sk-1234" not in str(caught.value)


def test_an_answer_that_never_ends_is_given_up():
    with serving([["drip"]]) as server:
        (row,) = asking(server, timeout_s=0.5, retries=0)(pictures())
    assert str(row) == "timeout: no answer in time"


def test_a_key_follows_no_redirection(monkeypatch):
    monkeypatch.setenv("CAPTION_KEY", KEY)
    with serving([["moved"]], key=KEY) as server:
        (row,) = asking(server, key_variable="CAPTION_KEY")(pictures())
    assert str(row) == "http 302: Found"


def test_a_key_is_read_without_the_line_end_of_its_file(monkeypatch):
    with serving(key=KEY) as server:
        monkeypatch.setenv("CAPTION_KEY", f"{KEY}\n")
        assert "caption_server" in asking(server, key_variable="CAPTION_KEY")(pictures())[0]
        monkeypatch.setenv("CAPTION_KEY", f"{KEY}\n{KEY}")
        with pytest.raises(UserError, match="cannot be sent") as caught:
            CaptionServer(base_url=server.url, model="m", key_variable="CAPTION_KEY").check()
    assert KEY not in str(caught.value)


def test_any_answer_is_an_answer_and_silence_is_told_in_two_seconds(monkeypatch):
    with serving(key="x") as server, monkeypatch.context() as patient:  # 401
        patient.setattr("clipmill.curate.captions.served._ANSWER_S", 20.0)
        CaptionServer(base_url=server.url, model="m").check()
    with socket.socket() as mute:  # accepts, says nothing
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(UserError, match=r"no server at .*timeout: no answer in"):
            CaptionServer(base_url=f"http://127.0.0.1:{mute.getsockname()[1]}/v1", model="m").check()


def test_what_only_says_how_to_ask_makes_no_other_captions():
    base = CaptionServer(model="m")
    how = replace(
        base,
        base_url="http://other/v1",
        concurrency=1,
        timeout_s=9.0,
        retries=0,
        requests_per_minute=5.0,
        sample_weight=0.2,
    )
    assert how.params() == base.params()
    for change in (
        {"prompt": "x"},
        {"model": "n"},
        {"max_tokens": 9},
        {"roles": ("middle",)},
        {"seed": 1},
        {"temperature": 0.5},
    ):
        assert replace(base, **change).params() != base.params(), change


def test_answers_of_other_forms():
    assert (
        read_answer(answer([{"type": "text", "text": "A cat"}, {"type": "text", "text": "sleeps."}])).text
        == "A cat sleeps."
    )
    assert [read_answer(answer("x", reason)).finished for reason in ("stop", "length", None)] == [True, False, None]
    for tree in ({}, [], "x", {"choices": None}, {"choices": [3]}, answer(None), answer(7)):
        with pytest.raises(ChatError, match="garbage"):
            read_answer(tree)
    with pytest.raises(ChatError, match="refusal: content_filter"):
        read_answer(answer("", "content_filter"))


def answer(content, reason="stop"):
    return {"choices": [{"message": {"content": content}, "finish_reason": reason}]}


# Merging.


def with_captions(**texts):
    return replace(clip(), captions=[caption(source, None, text, 1.0, "ok") for source, text in texts.items()])


def merging(server, **values):
    """The annotator, and what it asks once loaded."""
    annotator = CaptionMerge(base_url=server.url, model="tiny-llm", backoff_s=0.01, **values)
    return annotator, annotator.load("cpu", {})


def test_the_first_two_captions_are_merged_in_their_order():
    clips = [
        with_captions(video="A dog runs.", coca="a dog on grass", sidecar="Rex"),
        with_captions(coca="a cat", sidecar="Tom"),
    ]
    with serving() as server:
        annotator, ask = merging(server)
        row, error = ask(clips)
        ((question, content),) = server.contents.items()
        assert server.problems == []
    assert content == f"{annotator.prompt}\n\n1. a dog on grass\n2. A dog runs."
    assert row["caption_merge"] == caption_of(question)
    assert str(error) == "fewer than two captions to merge: coca of coca, video"
    assert annotator.uses == ("caption_coca", "caption_video")
    assert annotator.sample_weight == 0.25


def test_other_sources_may_be_merged():
    with serving() as server:
        annotator, ask = merging(server, sources=("sidecar", "server"))
        ask([with_captions(server="A man.", coca="x", sidecar="Rex")])
        assert next(iter(server.contents.values())).endswith("\n\n1. Rex\n2. A man.")
    assert annotator.uses == ("caption_server",)
    with pytest.raises(UserError, match="two or more"):
        CaptionMerge(sources=("coca",)).check()

"""The report: what it says is checked against pandas, what it does in a real browser, and that nothing in a run can
make it misbehave.
"""

import base64
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.report_run import BREAKOUT, DEFAULT, HOSTILE, STRICT, Shape, make_run

from clipmill.curate.errors import UserError
from clipmill.curate.policy.decisions import freeze
from clipmill.curate.policy.policy import Filter, override, parse, policy_id
from clipmill.curate.report import explore, write_report
from clipmill.curate.report.decide import Column
from clipmill.curate.report.thumbs import MAX_THUMBS, strip

pytestmark = pytest.mark.slow


CHROMIUM_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
CHROMIUM_FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
EDGES = {
    "no videos": Shape(0, 0),
    "no clips": Shape(3, 0),
    "no policy": Shape(3, 3, policies=0),
    "no pictures": Shape(3, 3, pictures=False),
    "one clip": Shape(1, 1, policies=1),
}


class Page(HTMLParser):
    """Elements, attribute names and text of a page as an HTML parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def page_data(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def words(html: str) -> str:
    return " ".join(" ".join(Page(html).text).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "run", Shape(24, 8))


@pytest.fixture(scope="module")
def html(run) -> str:
    return write_report(run).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def manifest(run) -> pd.DataFrame:
    return pq.read_table(run / "manifest.parquet").to_pandas()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser) -> Iterator:
    """Opens a report; when the test ends, there must have been no console error, no dialog and no request beyond the
    file.
    """
    contexts, seen = [], []

    def open_(path: Path, **options):
        contexts.append(browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)))
        page = contexts[-1].new_page()
        page.on(
            "console", lambda m: seen.append(f"console {m.type}: {m.text}") if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda e: seen.append(f"page error: {e}"))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("data:", path.as_uri())) else seen.append(f"request: {r.url}"),
        )
        page.on("dialog", lambda d: (seen.append(f"dialog: {d.message}"), d.dismiss()))
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not seen


def drawn(page) -> None:
    """Changes are drawn with the next frame. (`wait_for_function` asks again by `eval`, which the page's own policy
    forbids.)
    """
    page.evaluate("() => new Promise(requestAnimationFrame)")


def kept_by_pandas(table: pd.DataFrame, **limits: tuple[float, float]) -> pd.Series:
    """The default policy in pandas, with some limits replaced: which clips are kept."""
    sharpness = np.sort(table["sharpness"].dropna())
    frozen = {
        "motion": (0.01, np.inf),
        "text_area": (-np.inf, 0.07),
        "sharpness": (sharpness[len(sharpness) // 10], np.inf),
        "blockiness": (-np.inf, 0.35),
        "near_black": (-np.inf, 0.5),
        "dup_rank": (-np.inf, 0),
    } | limits
    passes = pd.DataFrame(
        {
            c: (table[c] >= table[c].dtype.type(low)) & (table[c] <= table[c].dtype.type(high))
            for c, (low, high) in frozen.items()
        }
    )
    passes["blockiness"] |= table["blockiness"].isna()  # on_error = "keep"
    return passes.all(axis=1)


def test_headline_reconciles(html, manifest):
    n = manifest["outcome"].value_counts()
    line = (
        f"{len(manifest)} clips = {n['kept']} kept + {n['dropped']} dropped + {n['error']} error + {n['not_run']}"
        " not run"
    )
    assert line in words(html)
    assert "29 files = 24 read + 1 read in part + 3 unreadable + 1 byte-identical copies" in words(html)
    assert n["kept"] == kept_by_pandas(manifest).sum()
    assert 'role="note"' not in html, "a sound run needs no warning"


def test_data_reproduces_every_decision(html, manifest):
    """The page's rounded scores and its thresholds give the recorded decisions, and those the policy's counts."""
    data, by_id = page_data(html), manifest.set_index("clip_id")
    assert [p["name"] for p in data["policies"]] == ["default", "strict"]
    assert [p["pinned"] for p in data["policies"]] == [[], []]
    assert data["ids"] == sorted(manifest["clip_id"])
    names = ("kept", "dropped", "error", "not_run")
    assert [names[int(c)] for c in data["policies"][0]["outcome"]] == by_id.loc[data["ids"], "outcome"].tolist()
    for column in data["columns"]:
        exact = by_id.loc[data["ids"], column["name"]].to_numpy(float)
        shown = np.array([np.nan if v is None else v for v in column["values"]])
        np.testing.assert_array_equal(np.isnan(shown), np.isnan(exact))
        np.testing.assert_allclose(shown, exact, rtol=1.01e-3)
    text = next(c for c in data["columns"] if c["name"] == "text_area")
    assert len(text["error"]) == by_id["text_area"].isna().sum()
    assert not text["not_run"]
    motion = next(c for c in data["columns"] if c["name"] == "motion")
    assert len(motion["not_run"]) == by_id["motion"].isna().sum() > 0
    assert not motion["error"]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("side", ["min", "max"])
def test_rounding_changes_no_decision(kind, side):
    """Against frozen thresholds of any digits and against every threshold of four digits, values on the threshold
    included.
    """
    rng = np.random.default_rng(3)
    grid = np.array([0.3, 0.07, 0.01, 1234.0, 2e-5, 0.0, -0.3, 0.1235])
    exact = np.concatenate([grid, rng.normal(0, 1, 2000) * 10.0 ** rng.integers(-4, 4, 2000), [np.nan]]).astype(kind)
    frozen = float(exact[100])
    column = Column("score", exact, np.isnan(exact).astype(np.int8))
    short = np.array(
        [np.nan if v is None else v for v in explore.pack(column, [Filter("score", **{side: frozen})])], kind
    )
    compare = np.less if side == "min" else np.greater
    for limit in [frozen, *grid, *(float(f"{v:.4g}") for v in exact[8:300])]:
        np.testing.assert_array_equal(compare(short, kind(limit)), compare(exact, kind(limit)), err_msg=str(limit))
    assert np.mean([len(str(v)) for v in short]) < 8, "compact"


def test_galleries_show_what_they_say(html, manifest):
    data, by_id = page_data(html), manifest.set_index("clip_id")
    groups = {g["key"]: [data["ids"][i] for i in g["clips"]] for g in data["policies"][0]["groups"]}
    assert all(len(g) <= explore.PER_GROUP for g in groups.values())
    assert len(data["thumbs"]) <= MAX_THUMBS
    assert {str(data["ids"].index(i)) for ids in groups.values() for i in ids} <= set(data["thumbs"])
    assert set(by_id.loc[groups["kept"], "outcome"]) == {"kept"}
    assert by_id.loc[groups["kept"], "video_id"].is_unique, "variety first"
    failed = [list(f) for f in by_id.loc[groups["dropped:motion"], "failed_filters"]]
    assert all("motion" in f for f in failed)
    assert failed[0] == ["motion"]
    just_kept = by_id[(by_id["outcome"] == "kept") & (by_id["text_area"] <= 0.07)]["text_area"].nlargest(6)
    assert set(groups["boundary:text_area:kept"]) == set(just_kept.index)
    assert not any(key.startswith("boundary:dup_rank") for key in groups), "a rank has no near"


def test_hostile_names_and_messages_are_text(html):
    page = Page(html)
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [
        value
        for name, value in page.attributes
        if name in ("src", "href") and not str(value).startswith(("#", "data:"))
    ]
    assert {HOSTILE, BREAKOUT} <= set(page_data(html)["videos"])
    assert "<b>not</b> a video" in words(html)
    assert "an older version's failure" not in html
    assert "no frame could be read: <JPEG>" in words(html)


def test_same_run_same_bytes(run, html, tmp_path):
    shutil.copytree(run, tmp_path / "moved elsewhere", ignore=shutil.ignore_patterns("report.html"))
    assert write_report(tmp_path / "moved elsewhere").read_text(encoding="utf-8") == html
    assert not list((tmp_path / "moved elsewhere").glob("*.tmp"))


def test_strip_is_small_and_in_order():
    colours = [(0, 0, 255), (0, 255, 0), (255, 0, 0)]
    jpegs = [cv2.imencode(".jpg", np.full((480, 270, 3), c, np.uint8))[1].tobytes() for c in colours]
    thumb = strip([*jpegs[:2], b"not a picture", jpegs[2]])
    image = cv2.imdecode(np.frombuffer(base64.b64decode(thumb.jpeg), np.uint8), cv2.IMREAD_COLOR)
    assert (thumb.n, thumb.width, thumb.height) == (3, 112, 200)
    assert image.shape == (200, 336, 3)
    for k, colour in enumerate(colours):
        np.testing.assert_allclose(image[100, 56 + 112 * k], colour, atol=12)
    assert strip([b"junk"]) is None


def test_a_sample_is_stated(run, monkeypatch, html):
    monkeypatch.setattr(explore, "MAX_CLIPS", 50)
    sampled = write_report(run).read_text(encoding="utf-8")
    (run / "report.html").write_text(html, encoding="utf-8")
    assert "uniform sample of 50 of 192 clips" in words(sampled)
    assert "uniform sample" not in words(html)
    assert page_data(sampled)["ids"] == page_data(html)["ids"][:50]


def test_what_does_not_add_up_is_said(tmp_path):
    run = make_run(tmp_path / "run", Shape(2, 3, pictures=False))
    info = json.loads((run / "run.json").read_text())
    info["counts"]["clips"] += 1
    (run / "run.json").write_text(json.dumps(info))
    assert "clips: 7 in run.json, 6 in the tables" in words(write_report(run).read_text())


def test_unreadable_runs_are_one_line(tmp_path):
    with pytest.raises(UserError, match="is no run directory"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*run\.json"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    assert "did not finish" in words(write_report(tmp_path).read_text())
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"cannot read .*manifest\.parquet"):
        write_report(tmp_path)


@pytest.mark.parametrize("name", EDGES)
def test_empty_and_partial_runs(name, tmp_path, open_page):
    html_path = write_report(make_run(tmp_path / "run", EDGES[name]))
    said = {"no videos": "5 files = 0 read", "no clips": "No clips came out", "no policy": "No policy has decided"}
    page = open_page(html_path)
    assert said.get(name, "clips = ") in " ".join(page.inner_text("main").split())
    cards = page.locator("#galleries .clip").count()
    assert (cards == 0) == (name in ("no videos", "no clips"))


def test_slider_recounts_as_pandas_does(run, html, manifest, open_page):
    page = open_page(run / "report.html")
    kept = lambda: int(page.inner_text("#kept-now").replace(",", ""))  # noqa: E731
    assert kept() == kept_by_pandas(manifest).sum()
    slider = page.locator('input[type=range][data-filter="motion"]')
    slider.focus()
    for _ in range(25):
        page.keyboard.press("ArrowRight")
    drawn(page)
    assert "moved" in page.get_attribute("#outcome", "class").split()
    limit = float(re.search(r"--set motion\.min=(\S+)", page.inner_text("#command"))[1])
    assert limit > 0.012
    now, before = kept_by_pandas(manifest, motion=(limit, np.inf)), kept_by_pandas(manifest)
    assert page.inner_text("#n-out") == f"{(before & ~now).sum()}"
    assert kept() == now.sum() < before.sum()
    assert page.inner_text("#rate-now") == f"{100 * now.mean():.1f} %"
    changed = page.locator("#changed .clip").evaluate_all("cards => cards.map(c => c.dataset.clip)")
    assert set(changed) == set(manifest["clip_id"][before & ~now])
    page.fill('#scores input[type=number][aria-label^="text_area"]', "0.2")
    page.keyboard.press("Enter")
    now = kept_by_pandas(manifest, motion=(limit, np.inf), text_area=(-np.inf, 0.2))
    drawn(page)
    assert page.inner_text("#n-in") == f"{(now & ~before).sum()}"
    assert kept() == now.sum()
    assert "--set text_area.max=0.2" in page.inner_text("#command")
    assert str(run) in page.inner_text("#command")
    page.click("#reset")
    drawn(page)
    assert page.inner_text("#kept-now") == f"{before.sum()}"
    assert "--set" not in page.inner_text("#command")


def test_ends_of_a_slider_switch_it_off(run, html, manifest, open_page):
    page = open_page(run / "report.html")
    page.locator('input[type=range][data-filter="motion"]').focus()
    page.keyboard.press("Home")
    now = kept_by_pandas(manifest, motion=(-np.inf, np.inf))
    drawn(page)
    assert page.inner_text("#kept-now") == f"{now.sum()}"


def test_other_policy_and_its_rule(run, html, manifest, open_page):
    page = open_page(run / "report.html")
    page.select_option("#policy", label="strict")
    strict = pq.read_table(run / "decisions" / "strict.parquet").to_pandas()
    assert page.inner_text("#kept-now") == str((strict["outcome"] == "kept").sum())
    tokens = shlex.split(page.inner_text("#command"))
    assert tokens[:5] == ["curate", "filter", str(run), "--name", "strict"]
    led_to = override(parse("strict", DEFAULT), [t for t in tokens[5:] if t != "--set"])
    assert (
        policy_id(freeze(led_to, manifest)) == json.loads((run / "decisions" / "strict.json").read_text())["policy_id"]
    )
    assert page.locator("#scores input[type=range]").count() == 1 + len(STRICT), "motion has two limits"
    # The script's rule at any thresholds, through its own function, against the policy's code.
    limits = page.evaluate(
        "[0.02, 0.1, 0.5].map((m) => evaluate(DATA.policies[1], [{min: m, max: 1}, {min: null, max: 0.05}, "
        "{min: 100, max: null}]).outcome.filter((o) => o === 0).length)"
    )
    t = manifest
    expected = [
        ((t.motion >= np.float32(m)) & (t.motion <= 1) & (t.text_area <= np.float32(0.05)) & (t.sharpness >= 100)).sum()
        for m in (0.02, 0.1, 0.5)
    ]
    assert limits == expected


def test_viewer_explains_a_clip(run, html, manifest, open_page):
    page = open_page(run / "report.html")
    dropped = manifest[manifest["failed_filters"].map(lambda f: list(f) == ["motion"])]
    card = page.locator("#galleries .clip").filter(has_text="motion 0.0").first
    card.focus()
    page.keyboard.press("Enter")
    clip = card.get_attribute("data-clip")
    assert clip in set(dropped["clip_id"])
    text = page.inner_text("#viewer")
    motion = manifest.set_index("clip_id").loc[clip, "motion"]
    assert f"{motion:.4g}"[:5] in text
    assert "fail" in text
    assert f"curate inspect {run} {clip}" in text
    assert page.locator("#viewer img.strip").evaluate("i => i.complete && i.naturalWidth > 500")
    page.keyboard.press("ArrowRight")
    assert f"curate inspect {run} {clip}" not in page.inner_text("#viewer")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()


@pytest.mark.parametrize(("width_px", "scheme"), [(390, "light"), (768, "dark"), (1280, "light")])
def test_layout_fits_and_pictures_load(run, html, width_px, scheme, open_page):
    page = open_page(run / "report.html", viewport={"width": width_px, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0 && i.alt)")
    assert page.evaluate(
        "[...document.querySelectorAll('button, input, select')].every((e) => e.labels?.length || "
        "e.getAttribute('aria-label') || e.textContent.trim())"
    )
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert contrast(ink, paper) > 12
    muted = page.evaluate("getComputedStyle(document.querySelector('.lead')).color")
    assert contrast(muted, paper) > 4.5


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio of two `rgb(...)` colours."""

    def luminance(colour: str) -> float:
        parts = np.array([int(v) for v in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_group_that_shows_a_part_of_its_clips_says_so(run, html, manifest, open_page):
    page = open_page(run / "report.html")
    kept = int(kept_by_pandas(manifest).sum())
    assert kept > explore.PER_GROUP
    assert page.inner_text("#galleries .group .tag >> nth=0") == f"{explore.PER_GROUP} shown of {kept}"

"""The page in a real browser: play, seek, filter, sort, decide, reload, with the keyboard alone and on a phone."""

import shutil
from pathlib import Path

import pytest
from helpers.browsed import browsed
from helpers.commands import curate
from helpers.tiny_videos import quick, write_tiny

pytestmark = pytest.mark.slow

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Six clips that are not exported; a name and a caption that would like to be markup."""
    folder = tmp_path_factory.mktemp("page")
    for number, name in enumerate(["<b>&'bold.mp4", "plain.mp4", "z.mp4"]):
        write_tiny(folder / "in" / name, number, 40, (96, 64), (1, 4))
    (folder / "in" / "plain.txt").write_text(HOSTILE)
    curate("run", folder / "in", "--out", folder / "run", "--no-export", *quick())
    return folder / "run"


@pytest.fixture
def page(run, tmp_path):
    with browsed(shutil.copytree(run, tmp_path / "run"), tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def chromium():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(page, chromium):
    """Opens the page; in the end there was no console error, no dialog, and no request beyond the page."""
    seen, contexts = [], []

    def open_(**options):
        contexts.append(chromium.new_context(**({"viewport": {"width": 1280, "height": 850}} | options)))
        tab = contexts[-1].new_page()
        tab.on("console", lambda m: seen.append(m.text) if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda e: seen.append(f"error: {e}"))
        tab.on("request", lambda r: None if r.url.startswith(f"http://127.0.0.1:{page.port}/") else seen.append(r.url))
        tab.on("dialog", lambda d: (seen.append(d.message), d.dismiss()))
        tab.goto(page.address)
        tab.wait_for_selector(".clip")
        tab.wait_for_selector(".histogram", state="attached")
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert not seen


def until(tab, holds: str) -> None:
    """Waits for it. Playwright's own way evaluates text within the page, which its policy forbids."""
    for _ in range(200):
        if tab.evaluate(holds):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never: {holds}")


def clips(tab) -> list[str]:
    return tab.eval_on_selector_all(".clip", "all => all.map(e => e.dataset.clip)")


def test_a_curator_at_work(opened, page):
    tab = opened()
    assert "token" not in tab.url
    every = clips(tab)
    assert len(every) == 6
    tab.hover(".clip >> nth=2")
    until(tab, "document.querySelector('.clip video')?.currentTime > 0")

    tab.click(".clip >> nth=2")
    until(tab, "video.readyState >= 2 && video.currentTime > 0")
    tab.evaluate("video.pause(); video.currentTime = 1")
    until(tab, "!video.seeking && video.currentTime === 1")
    tab.click("#verdicts [data-verdict=drop]")
    tab.wait_for_selector("#verdicts [data-verdict=drop][aria-pressed=true]")
    tab.keyboard.press("Escape")
    assert page.clips.words[every[2]].verdict == "drop"

    tab.select_option("#sort", "-motion")
    until(tab, "location.search.includes('sort=-motion')")
    until(tab, f"document.querySelector('.clip').dataset.clip !== '{every[0]}'")
    fastest = clips(tab)
    tab.fill("#q", "PLAIN")
    until(tab, "document.querySelectorAll('.clip').length === 2")
    tab.reload()
    tab.wait_for_selector(".clip")
    assert clips(tab) == [clip for clip in fastest if clip in every[2:4]]
    assert tab.input_value("#sort") == "-motion"
    tab.go_back()
    until(tab, "document.querySelectorAll('.clip').length === 6")
    tab.click("#outcomes button:has-text('dropped')")
    until(tab, "document.querySelectorAll('.clip').length === 1")
    assert clips(tab) == [every[2]]


def test_the_keyboard_alone(opened, page):
    tab = opened()
    every = clips(tab)
    tab.keyboard.press("k")  # and goes on to the next
    tab.wait_for_selector(".hand.keep")
    tab.keyboard.press("d")
    tab.wait_for_selector(".hand.drop")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("n")
    tab.keyboard.type("who is this?")
    tab.keyboard.press("Control+Enter")
    tab.wait_for_selector("text=who is this?")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#viewer[open]")
    tab.keyboard.press("c")
    tab.keyboard.type("A texture.")
    tab.keyboard.press("Control+Enter")
    tab.wait_for_selector("#about b:has-text('A texture.')")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("u")
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".hand.unsure")
    words = {every.index(clip): word for clip, word in page.clips.words.items()}
    assert {i: word.verdict for i, word in words.items()} == {0: "keep", 1: "drop", 3: None, 4: "unsure"}
    assert (words[3].note, words[3].caption) == ("who is this?", "A texture.")
    for left in (3, 3, 2, 1, 0):  # the note and the caption are of one clip
        tab.keyboard.press("z")
        until(tab, "notice.textContent === 'undone'")
        tab.evaluate("notice.textContent = ''")
        assert len(page.clips.words) == left
    until(tab, "!document.querySelector('.hand')")
    assert page.clips.words == {}
    tab.keyboard.press("/")
    tab.keyboard.type("kz")  # letters of a search decide nothing
    until(tab, "!document.querySelector('.clip')")
    assert page.clips.words == {}


def test_a_threshold_moves_the_gallery_and_the_funnel(opened, page):
    tab = opened()
    slow = sorted(page.json("/api/clips")["clips"], key=lambda clip: clip["scores"]["motion"])
    between = (slow[2]["scores"]["motion"] + slow[3]["scores"]["motion"]) / 2
    field = tab.locator("[data-column=motion] input[title='threshold: motion min']")
    field.fill(str(between))
    field.press("Enter")
    until(tab, "document.querySelectorAll('.clip.dropped').length === 3")
    tab.wait_for_selector("[data-by=motion]:has-text('3 · 3 alone')")
    tab.wait_for_timeout(300)
    tab.drag_and_drop(
        "[data-column=duration_s] svg", "[data-column=duration_s] svg",
        source_position={"x": 100, "y": 10}, target_position={"x": 266, "y": 10},
    )  # fmt: skip
    until(tab, "/r.duration_s=1\\.[0-9]+\\.\\.(&|$)/.test(location.search)")


def test_on_a_phone_nothing_sticks_out(opened):
    tab = opened(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme="dark")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("document.querySelector('.clip').getBoundingClientRect().height") > 100
    tab.tap("#menu")
    tab.wait_for_selector("#side.open .histogram")
    tab.tap("#outcomes button:has-text('kept')")
    until(tab, "location.search.includes('outcome=kept')")
    tab.tap("#menu")
    tab.tap(".clip >> nth=0")
    until(tab, "video.readyState >= 2")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.tap("#verdicts [data-verdict=keep]")
    tab.wait_for_selector("#verdicts [data-verdict=keep][aria-pressed=true]")


def test_what_comes_from_a_run_stays_text(opened, page):
    tab = opened()
    note = f"{HOSTILE} \u202e"
    page.send("/api/decide", {"words": [{"clip_id": clips(tab)[2], "note": note, "caption": HOSTILE}]})
    tab.reload()
    tab.wait_for_selector(".clip")
    for index in (0, 2):
        tab.click(f".clip >> nth={index}")
        tab.wait_for_selector("#about table")
        tab.keyboard.press("Escape")
    assert "onerror" in tab.text_content("#about")
    assert tab.evaluate("document.querySelectorAll('img[src=x], #about script, #grid b, #about h2 b').length") == 0

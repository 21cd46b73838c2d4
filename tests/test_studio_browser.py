"""One path through the studio in a real browser, headless Chromium: begin a training, see its curve grow, stop it, ask
the model. Needs Streamlit, Playwright and a Chromium, and is skipped where one is missing."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio import runs
from tests.tiny_data import jpeg
from tests.tiny_runs import ROOT

pytest.importorskip("streamlit", reason="streamlit is optional")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is optional")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT = 90_000  # milliseconds


@pytest.fixture
def address(studio_folder: Path, shapes_root: Path) -> Iterator[str]:
    """The studio, started as its user does, in a folder in which the shapes are drawn already."""
    Path("datasets").mkdir()
    Path("datasets/shapes").symlink_to(shapes_root)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "studio", "--no-browser", "--port", str(port)]
    with open("studio.txt", "w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < end, Path("studio.txt").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_from_the_start_of_a_training_to_an_answer(address: str, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(jpeg(1, (40, 30)))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        page.set_default_timeout(WAIT)
        strangers: list[str] = []  # requests that leave this machine
        page.on("request", lambda r: strangers.append(r.url) if not is_own(r.url, address) else None)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))

        page.goto(address)
        values = {"epochs": "3000", "batch size": "8", "layers": "1", "width of a token": "8", "heads": "2",
                  "width of the feed-forward": "8", "patch size": "32"}  # fmt: skip
        for label, value in values.items():
            field = page.get_by_role("textbox", name=label, exact=True)
            field.fill(value)
            field.press("Enter")
        page.get_by_text("model.patch_size=32").first.wait_for()
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_text("Loss (nats)").wait_for()
        page.get_by_role("progressbar").first.wait_for()
        page.locator("[data-testid=stVegaLiteChart]").first.wait_for()
        first = step_of(page)
        end = time.monotonic() + 60
        while step_of(page) <= first:  # the point of the curve moves by itself
            assert time.monotonic() < end
            time.sleep(0.5)
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Go on", exact=True).wait_for()
        assert [run.state for run in runs.all_runs()] == [runs.STOPPED]

        page.get_by_role("link", name="Predict").click()
        page.locator("input[type=file]").first.set_input_files(str(tmp_path / "cat.jpg"))
        ask = page.get_by_role("button", name="Ask", exact=True)
        playwright.expect(ask).to_be_enabled()
        ask.click()
        page.get_by_text("attention rollout over all blocks").wait_for()
        assert page.get_by_role("progressbar").count() == 5
        assert page.get_by_text("Traceback").count() == 0
        browser.close()
    assert errors == []
    assert strangers == []


def is_own(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))


def step_of(page: object) -> int:
    """The step that the page shows."""
    words = page.get_by_text("step ").first.inner_text().replace(",", "").split()  # type: ignore[attr-defined]
    return int(words[words.index("step") + 1])

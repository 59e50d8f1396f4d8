"""A person on the page: in Chromium, with pictures, two models, rewards, and a model that means harm."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from tests.apps.chat.a_page import chat_on_a_page
from tests.apps.chat.a_terminal import SECONDS
from tests.apps.chat.conftest import HOSTILE, SAYS_HOSTILE, SAYS_WORDS
from tests.apps.chromium import CHROMIUM, MILLISECONDS, MISSING, a_browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as chromium:
        yield chromium


def new_page(browser: Any) -> Any:
    page = browser.new_page()
    page.set_default_timeout(MILLISECONDS)
    return page


def until(page: Any, holds: str) -> None:
    """Wait until an expression is true on the page, whose policy lets nothing evaluate text by itself."""
    deadline = time.monotonic() + SECONDS
    while not page.evaluate(holds):
        assert time.monotonic() < deadline, (holds, page.locator("body").inner_text())
        page.wait_for_timeout(20)


def ask(page: Any, text: str) -> None:
    answered = page.locator(".answer .footer").count()
    page.locator("#question").fill(text)
    page.keyboard.press("Enter")
    until(page, f"document.querySelectorAll('.answer .footer').length > {answered}")


def change(page: Any, name: str, value: str) -> None:
    field = page.locator(f"input[name={name}]")
    field.fill(value)
    page.evaluate("globalThis.before = state")
    field.press("Tab")
    until(page, "state !== before")


def test_a_chat_side_by_side_with_rewards_and_a_model_that_means_harm(
    browser: Any, model: Path, other: Path, tmp_path: Path
) -> None:
    (tmp_path / "reward.py").write_text(
        "def score(prompts, responses, labels):\n"
        "    return [float(len(r)) if l is None else float(l) for r, l in zip(responses, labels)]\n"
    )
    words = ["--pretrain", str(model), "--side-by-side", str(other), "--temperature", "0", "--generate_max_len", "8"]
    words += ["--reward_fn", f"{tmp_path / 'reward.py'}:score", "--logit_bias", SAYS_WORDS, "--reward_workers", "1"]
    with chat_on_a_page(*words) as (process, url):
        page = new_page(browser)
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
        page.goto(url)
        until(page, "document.querySelectorAll('#numbers input').length > 3")
        assert page.locator("#names").inner_text() == f"{model} | {other}"
        ask(page, "hello")
        texts = page.locator(".answer .text").all_inner_texts()
        assert len(texts) == 2 and texts[0] != texts[1] and all(texts)
        scores = page.locator(".verdict b").all_inner_texts()
        lengths = page.locator(".answer .text").evaluate_all("all => all.map(one => one.textContent.length)")
        assert scores == [str(length) for length in lengths]
        page.locator("#label").fill("7")
        page.locator("#label").press("Enter")
        until(page, "[...document.querySelectorAll('.verdict b')].every(one => one.textContent === '7')")

        page.locator("#adjust").click()
        field = page.locator("input[name=generate_max_len]")
        field.fill("many")
        field.press("Tab")
        until(page, "document.getElementById('error').textContent.includes('expected a whole number')")
        assert field.input_value() == "8"
        change(page, "logit_bias", SAYS_HOSTILE)
        change(page, "generate_max_len", "2")
        ask(page, "and now?")
        said = page.locator(".answer .text").nth(2).evaluate("one => one.textContent")
        assert said == HOSTILE * 2
        assert page.title() == "lightrft chat" and page.locator(".answer img, .answer script").count() == 0

        page.locator("#undo").click()
        until(page, "document.querySelectorAll('.exchange').length === 1")
        with page.expect_download() as download:
            page.locator("#save").click()
        saved = json.loads(Path(download.value.path()).read_text())
        assert saved["messages"][1] == {"role": "assistant", "content": saved["exchanges"][0]["answers"][0]["text"]}
        page.locator("#reset").click()
        until(page, "document.querySelectorAll('.exchange').length === 0")
        page.locator("#chats").set_input_files(download.value.path())
        until(page, "document.querySelectorAll('.exchange').length === 1")
        change(page, "generate_max_len", "60000")
        page.locator("#question").fill("for ever")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('.writing .text')?.textContent.length > 500")
        process.type("\x03")
        assert process.ended() == 0
        assert [line for line in troubles if "net::ERR" not in line and "Failed to load" not in line] == []


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lightrft_multimodal.tiny import Sizes, build_qwen2_5_vl

    folder = tmp_path_factory.mktemp("seeing") / "model"
    build_qwen2_5_vl(folder, Sizes(max_pixels=32 * 32, initializer_range=0.15))
    return folder


def test_a_picture_is_uploaded_and_reaches_the_model_and_strangers_are_not_let_in(
    browser: Any, seeing: Path, tmp_path: Path
) -> None:
    for name, colour in (("red", (220, 30, 30)), ("blue", (20, 40, 220))):
        Image.new("RGB", (64, 48), colour).save(tmp_path / f"{name}.png")
    words = ("--pretrain", str(seeing), "--temperature", "0", "--generate_max_len", "10", "--max_upload_mb", "1")
    with chat_on_a_page(*words) as (process, url):
        page = new_page(browser)
        page.goto(url)
        until(page, "state !== null")
        said = []
        for name in ("red", "blue"):
            page.locator("#files").set_input_files(tmp_path / f"{name}.png")
            until(page, "document.querySelectorAll('#waiting li').length === 1")
            ask(page, "What colour is this?")
            said.append(page.locator(".answer .text").first.evaluate("one => one.textContent"))
            until(page, "document.querySelector('.question img').naturalWidth === 64")
            page.locator("#reset").click()
            until(page, "document.querySelectorAll('.exchange').length === 0")
        assert said[0] != said[1], "what the picture shows reaches the model"
        (tmp_path / "page.png").write_bytes(b"<script>alert(1)</script>")
        page.locator("#files").set_input_files(tmp_path / "page.png")
        until(page, "document.getElementById('error').textContent.includes('page.png')")

        base, path = url[: url.index("/", 8)], url[url.index("/", 8) :]
        with httpx.Client(base_url=base, trust_env=False, timeout=60) as client:
            assert client.get(path).status_code == 200
            assert client.get(f"{path}state").json()["names"] == [str(seeing)]
            for stranger in ("/", "/state", "/page.js", "/wrong-secret/", path[:-2] + "/state", "//state"):
                refused = client.get(stranger)
                assert refused.status_code == 403 and str(seeing) not in refused.text, stranger
            for headers in (
                {"host": "evil.example"},
                {"host": f"evil.example:{base.rpartition(':')[2]}"},
                {"origin": "http://evil.example"},
                {"origin": "null"},
                {"sec-fetch-site": "cross-site"},
            ):
                assert client.post(f"{path}do", headers=headers, json={"line": "/reset"}).status_code == 403, headers
            for line in ("/save x.json", "/load x.json", "/image x.png", "/quit", "reset"):
                assert client.post(f"{path}do", json={"line": line}).status_code == 422, line
            large = client.post(f"{path}attach?modality=image&name=x", content=b"\0" * (2**20 + 1))
            assert large.status_code == 413 and "--max_upload_mb" in large.json()["error"]
            assert client.post(f"{path}attach?modality=text&name=x", content=b"x").status_code == 422
            assert client.post(f"{path}ask", content=b"[" * 100_000).status_code == 422
            policy = client.get(path).headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy

        page.goto("about:blank")
        refused = page.evaluate(
            "(url) => fetch(url + 'do', {method: 'POST', body: '{\"line\": \"/reset\"}', mode: 'no-cors'})"
            ".then((answer) => answer.type + answer.status, (error) => 'failed')",
            url,
        )
        assert refused in ("failed", "opaque0")
        page.set_content(f"<iframe src='{url}'></iframe>")
        page.wait_for_timeout(300)
        titles = [frame.title() for frame in page.frames if frame != page.main_frame]
        assert titles and "lightrft chat" not in titles, "no page of others shows this one within itself"
        process.type("\x03")
        assert process.ended() == 0

"""URLs: fetched only when allowed, from public addresses only, within limits of bytes, time and redirects."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from lightrft_multimodal import ImageRecord, Limits, MediaError, load_image
from lightrft_multimodal.media import download
from lightrft_multimodal.media.download import is_public

from .made import picture

PICTURE = picture()
ANYWHERE = Limits(urls=True, private_urls=True)


class Server(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        _, kind, *rest = self.path.split("/")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", "/".join(rest))
            self.end_headers()
            return
        self.send_response(404 if kind == "gone" else 200)
        if kind in ("picture", "cut"):
            self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        match kind:
            case "cut":
                self.wfile.write(PICTURE[:-9])
            case "drip":
                self.drip()
            case "endless":
                while True:
                    self.wfile.write(bytes(2**16))
            case _:
                self.wfile.write(PICTURE)

    def drip(self) -> None:
        for byte in PICTURE:
            self.wfile.write(bytes([byte]))
            time.sleep(0.5)

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def site(asked: list[str]) -> Iterator[str]:
    """The address of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Counting", (Server,), {"asked": asked}))
    server.daemon_threads = True
    thread = Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


def load(url: str, **limits: Any) -> ImageRecord:
    return load_image(url, limits=Limits(urls=True, private_urls=True, **limits))


def test_a_url_is_fetched_when_allowed_and_gives_the_record_of_the_file(site: str, asked: list[str]) -> None:
    assert load(f"{site}/picture/a b.png?x=ü#part") == load_image(PICTURE)
    assert load(f"{site}/plain") == load_image(PICTURE)
    assert load(f"{site}/to//to//picture") == load_image(PICTURE)
    assert asked[0] == "/picture/a%20b.png?x=%C3%BC"


def test_nothing_is_asked_of_private_addresses_unless_allowed(site: str, asked: list[str]) -> None:
    with pytest.raises(MediaError, match="URLs are not fetched; download it"):
        load_image(f"{site}/picture")
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0.0.0.0", "[::ffff:127.0.0.1]"):
        with pytest.raises(MediaError, match=r"not public|cannot be fetched"):
            load_image(site.replace("127.0.0.1", host) + "/picture", limits=Limits(urls=True))
    assert asked == []


def test_a_redirect_may_not_lead_to_a_private_address(
    site: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name `outside` stands for a public host that is served here: only the first step may pass."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: resolve(host.replace("outside", "127.0.0.1"), *a, **k)
    )
    passed = iter([True])
    monkeypatch.setattr(download, "is_public", lambda address: next(passed, False) or is_public(address))
    outside = site.replace("127.0.0.1", "outside")
    with pytest.raises(MediaError, match=r"leads to 127\.0\.0\.1, an address that is not public"):
        load_image(f"{outside}/to/{site}/picture", limits=Limits(urls=True))
    assert len(asked) == 1


def test_a_name_with_a_public_and_a_private_address_is_refused(
    site: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("127.0.0.1", "8.8.8.8")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(MediaError, match="leads to twofaced, an address that is not public"):
        load_image(site.replace("127.0.0.1", "twofaced") + "/picture", limits=Limits(urls=True))
    assert asked == []


def test_the_address_that_was_checked_is_the_one_connected_to(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers with a public address first and with this machine afterwards gains nothing."""
    port = int(site.rpartition(":")[2])
    answers = iter(["192.0.2.1", "127.0.0.1", "127.0.0.1"])
    resolve = socket.getaddrinfo

    def rebinding(host: str, *rest: Any, **named: Any) -> Any:
        return resolve(next(answers) if host == "twofaced" else host, *rest, **named)

    reached: list[str] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        reached.append(address[0])
        raise OSError("nobody there")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(download, "is_public", lambda address: address == "192.0.2.1")
    with pytest.raises(MediaError, match="nobody there"):
        load_image(f"http://twofaced:{port}/picture", limits=Limits(urls=True))
    assert reached == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *[("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True)],
        *[("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.0.1", False), ("::1", False)],
        *[("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("::", False)],
        *[("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:10.0.0.1", False), ("2002:7f00:1::", False)],
        *[("64:ff9b::7f00:1", False), ("ff0e::1", False), ("192.0.2.1", False)],
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/to//to//to//to//picture", "is redirected more than 3 times"),
        ("/to/file:///etc/hostname", "leads to file://: only http:// and https:// are fetched"),
        ("/to/", "redirected|cannot be fetched"),
        ("/gone", "the server answers 404 Not Found"),
        ("/cut", "ended 9 bytes early"),
        ("/endless", "is more than 100000 bytes large"),
        ("/drip", "took more than 0.5 seconds: download it"),
    ],
)
def test_what_cannot_be_fetched_is_an_error_that_names_it(site: str, path: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(MediaError, match=f"^image {site}.*{message}"):
        load(site + path, max_bytes=100_000, url_seconds=0.5 if path == "/drip" else 60)
    assert time.monotonic() - started < len(PICTURE) / 4, "it drips for longer"


def test_a_server_that_never_answers_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("http", "https"):
            started = time.monotonic()
            with pytest.raises(MediaError, match=r"took more than 0\.3 seconds"):
                load(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/", url_seconds=0.3)
            assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://user:password@127.0.0.1/a.png", r"image http://127\.0\.0\.1/a\.png: URLs with a user name"),
        ("http://127.0.0.1:99999/", "cannot be fetched"),
        ("http://[::1", r"cannot be fetched"),
        ("http:///nothing", "only http:// and https:// are fetched"),
        ("ftp://127.0.0.1/a.png", "only http:// and https:// are fetched"),
        ("file:///etc/hostname", "only http:// and https:// are fetched"),
        ("http://\udc80/", "cannot be fetched"),
    ],
)
def test_broken_urls_are_errors(url: str, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        load_image(url, limits=ANYWHERE)

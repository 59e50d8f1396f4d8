"""Media from the web: http and https within limits of bytes, time and redirects, and to public addresses only."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Timer
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from lightrft_multimodal.media.errors import MediaError, refused, shortened
from lightrft_multimodal.media.limits import Limits

MOST_REDIRECTS = 3
_CHUNK = 2**16
_KEPT = "%/:=&?~+!$,;'@()*[]"
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "lightrft-multimodal"}
_TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64: an IPv4 address in its last 32 bits (RFC 6052)


def download(url: str, name: str, limits: Limits) -> bytes:
    """What stands at a URL. Environment variables for proxies are not read.

    The address that is checked to be public is the very one that is connected to, for every redirect anew, so that no
    answer of a name server leads elsewhere. name: of the medium, for messages.
    Raises MediaError for everything that goes wrong.
    """
    deadline = time.monotonic() + limits.url_seconds
    with refused(f"{name} cannot be fetched"):
        for _ in range(MOST_REDIRECTS + 1):
            with _answered(_checked(url, name), name, limits, deadline) as answer:
                if answer.status not in (301, 302, 303, 307, 308):
                    return _read(answer, name, limits, deadline)
                url = urljoin(url, answer.headers.get("Location", ""))
        raise MediaError(f"{name} is redirected more than {MOST_REDIRECTS} times: give the address it ends at")


def _checked(url: str, name: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise MediaError(f"{name} leads to {shortened(parts.scheme)}://: only http:// and https:// are fetched")
    if parts.username is not None or parts.password is not None:
        raise MediaError(f"{name}: URLs with a user name are not fetched; download it and give the path of the file")
    return parts


@contextmanager
def _answered(url: SplitResult, name: str, limits: Limits, deadline: float) -> Iterator[http.client.HTTPResponse]:
    """The answer to GET; its connection is cut at the deadline, however slowly it drips."""
    target = quote(url._replace(scheme="", netloc="", fragment="").geturl() or "/", safe=_KEPT)
    try:
        with closing(http.client.HTTPConnection(str(url.hostname), url.port)) as connection:
            connection.sock = _line(url, name, limits, deadline)
            cut = Timer(_left(name, limits, deadline), _shut, (connection.sock,))
            cut.daemon = True
            cut.start()
            try:
                connection.request("GET", target, headers=_HEADERS)
                yield connection.getresponse()
            finally:
                cut.cancel()
    except (OSError, http.client.HTTPException):
        _left(name, limits, deadline)
        raise


def _line(url: SplitResult, name: str, limits: Limits, deadline: float) -> socket.socket:
    host, secure = str(url.hostname), url.scheme.lower() == "https"
    port = url.port or (443 if secure else 80)
    addresses = {str(found[0]) for *_, found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    if not limits.private_urls and not all(map(is_public, addresses)):
        raise MediaError(
            f"{name} leads to {shortened(host)}, an address that is not public: "
            "download it and give the path of the file"
        )
    line = _connected(sorted(addresses, key=lambda address: ":" in address), port, name, limits, deadline)
    return ssl.create_default_context().wrap_socket(line, server_hostname=host) if secure else line


def _connected(addresses: list[str], port: int, name: str, limits: Limits, deadline: float) -> socket.socket:
    for address in addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=_left(name, limits, deadline))
    return socket.create_connection((addresses[-1], port), timeout=_left(name, limits, deadline))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet, also where it is another written as IPv6."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        within = ip.ipv4_mapped or ip.sixtofour or (ip in _TRANSLATED and IPv4Address(int(ip) % 2**32)) or None
        ip = within or ip
    return ip.is_global and not ip.is_multicast


def _read(answer: http.client.HTTPResponse, name: str, limits: Limits, deadline: float) -> bytes:
    if answer.status != HTTPStatus.OK:
        raise MediaError(f"{name} cannot be fetched: the server answers {answer.status} {shortened(answer.reason)}")
    most = limits.max_bytes
    body = bytearray()
    while chunk := answer.read(_CHUNK):
        body += chunk
        _left(name, limits, deadline)
        if len(body) > most:
            raise MediaError(f"{name} is more than {most} bytes large: make it smaller or raise the limit of bytes")
    _left(name, limits, deadline)
    if answer.length:
        raise MediaError(f"{name} ended {answer.length} bytes early: fetch it again or download it")
    return bytes(body)


def _left(name: str, limits: Limits, deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise MediaError(
            f"{name} took more than {limits.url_seconds:g} seconds: download it and give the path of the file"
        )
    return left


def _shut(line: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(line, socket.SHUT_RDWR)

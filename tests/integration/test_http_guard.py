"""The guarded client on real sockets: what it refuses gets no connection at all."""

import itertools
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fieldline_connectors.http import HttpConfig, guarded_client
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Listener:
    """Answers every request with fixed bytes, and counts connections and requests."""

    def __init__(self, host: str, answer: bytes, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.sockets = socket.create_server((host, port), backlog=64)
        self.port = self.sockets.getsockname()[1]
        self.answer = answer
        self.connections = 0
        self.requests: list[bytes] = []
        self.names: list[str | None] = []
        self._tls = tls
        if tls:
            tls.sni_callback = lambda sock, name, context: self.names.append(name)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.sockets.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as connection:
                while request := connection.recv(65536):
                    self.requests.append(request)
                    connection.sendall(self.answer)
                    if b"content-length" not in self.answer and b"chunked" not in self.answer:
                        return
        except OSError:
            plain.close()

    def close(self) -> None:
        self.sockets.shutdown(socket.SHUT_RDWR)
        self.sockets.close()
        self._thread.join()


@contextmanager
def listening(host: str = "127.0.0.1", answer: bytes = OK, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    listener = Listener(host, answer, port, tls)
    try:
        yield listener
    finally:
        listener.close()


def allowing(host: str, network: str = "127.0.0.0/8", **settings: object) -> HttpConfig:
    return HttpConfig.model_validate({"allow_private": [{"host": host, "network": network}], **settings})


FULL_WIDTH = "".join(chr(0xFF10 + digit) for digit in range(10))


def spellings(address: str) -> Iterator[str]:
    """All ways to write an IPv4 address that some resolver understands."""
    a, b, c, d = map(int, address.split("."))
    number = (a << 24) | (b << 16) | (c << 8) | d
    yield from (
        address,
        f"{address}.",
        str(number),
        hex(number),
        f"0{number:o}",
        f"0x{a:02x}.{b}.{c}.{d}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
    )
    yield from (
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"{a}.{b}.{(c << 8) | d}",
        f"{a}.{(b << 16) | (c << 8) | d}",
        f"000{a:o}.{b}.{c}.{d}",
    )
    yield from (f"[::ffff:{address}]", f"[::{address}]", f"[64:ff9b::{address}]", f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]")
    yield from (
        address.translate(str.maketrans("0123456789", FULL_WIDTH)),
        address.replace(".", "。"),
        address.replace(".", "%2e"),
    )
    yield from (f"{address}%00.example", f"user@{address}", f"example.com:443@{address}", f"example.com%40{address}")


TARGETS = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.5", "172.16.5.5", "192.168.0.1", "169.254.169.254", "100.64.1.1", "198.18.0.1",
    "224.0.0.1", "255.255.255.255", "100.100.100.200", "192.0.0.192",
]  # fmt: skip
NAMES = [
    "localhost", "LOCALHOST", "localhost.", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[fe80::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[ff02::1]", "[fec0::1]", "[2001::1]", "[::ffff:0:127.0.0.1]", "[::1%25lo]", "127.1", "127.0.1", "0",
    "0x7f.1", "017700000001",
]  # fmt: skip
HOSTS = [*itertools.chain(*map(spellings, TARGETS)), *NAMES]
CORPUS = [f"{scheme}://{host}:{{port}}/" for scheme in ("https", "http") for host in HOSTS]
ODD_URLS = [
    "file:///etc/passwd", "unix:///var/run/docker.sock", "gopher://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/",
    "//127.0.0.1:{port}/", "127.0.0.1:{port}", "https:127.0.0.1:{port}", "https:///127.0.0.1:{port}/", "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "https://127.0.0.1:{port}\\@example.com/", "https://127.0.0.1:{port}#@example.com/", "https://[127.0.0.1]:{port}/",
]  # fmt: skip


def without_name_server(host: str, port: int) -> list[str]:
    """The system's own reading of numeric hosts and of localhost; asking a name server would make the test depend on one."""
    if host.rstrip(".").lower() == "localhost":
        return ["127.0.0.1", "::1"]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(entry[4][0]) for entry in found]


def test_no_spelling_of_a_private_host_gets_a_connection() -> None:
    assert len(CORPUS + ODD_URLS) >= 300
    reached = []
    with listening("0.0.0.0") as listener, guarded_client(HttpConfig(connect_timeout_s=1), without_name_server) as client:
        for url in CORPUS + ODD_URLS:
            try:
                client.get(url.format(port=listener.port))
                reached.append(url)
            except (FieldlineError, httpx.InvalidURL):
                continue
        assert reached == []
        assert listener.connections == 0


def test_names_that_point_inside_get_no_connection() -> None:
    inside = ["127.0.0.1", "10.0.0.1", "::1", "fe80::1%1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
    with listening() as listener:
        with guarded_client(HttpConfig(), resolve=lambda host, port: [inside[-1]]) as client:
            while inside:
                with pytest.raises(Misconfigured, match="allow_private"):
                    client.get(f"https://innocent.example:{listener.port}/")
                inside.pop()
        assert listener.connections == 0


def test_an_allowed_host_in_its_network_is_reached() -> None:
    with listening() as listener, guarded_client(allowing("127.0.0.1")) as client:
        assert client.get(f"http://127.0.0.1:{listener.port}/").text == "ok"
        assert listener.connections == 1


@pytest.mark.parametrize("url", ["http://user:s3cret@127.0.0.1:{port}/", "http://localhost:{port}/", "ftp://127.0.0.1:{port}/"])
def test_an_allowed_host_is_reached_only_as_it_was_allowed(url: str) -> None:
    with listening() as listener, guarded_client(allowing("127.0.0.1")) as client:
        with pytest.raises(Misconfigured) as caught:
            client.get(url.format(port=listener.port))
        assert "s3cret" not in str(caught.value)
        assert listener.connections == 0


def test_a_name_server_cannot_change_its_mind_between_check_and_connection() -> None:
    answers = itertools.cycle([["127.0.0.2"], ["127.0.0.1"]])
    asked: list[str] = []

    def flipping(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"
    with listening("127.0.0.2", closing) as allowed, listening("127.0.0.1", port=allowed.port) as forbidden:
        with guarded_client(allowing("rebind.test", "127.0.0.2/32"), resolve=flipping) as client:
            url = f"http://rebind.test:{allowed.port}/"
            for _ in range(3):
                assert client.get(url).text == "ok"
                with pytest.raises(Misconfigured):
                    client.get(url)
        assert (allowed.connections, forbidden.connections, len(asked)) == (3, 0, 6)


def test_one_connection_serves_many_requests() -> None:
    with listening() as listener, guarded_client(allowing("erp.test"), resolve=lambda host, port: ["127.0.0.1"]) as client:
        for _ in range(5):
            assert client.get(f"http://erp.test:{listener.port}/").text == "ok"
        assert listener.connections == 1
        assert all(f"Host: erp.test:{listener.port}".encode() in request for request in listener.requests)


def test_the_second_address_is_tried_where_the_first_does_not_answer() -> None:
    with (
        listening() as listener,
        guarded_client(allowing("erp.test"), resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"]) as client,
    ):
        assert client.get(f"http://erp.test:{listener.port}/").text == "ok"


def test_a_redirect_is_not_followed() -> None:
    with listening() as inside:
        moved = f"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{inside.port}/\r\ncontent-length: 0\r\n\r\n".encode()
        with listening(answer=moved) as outside, guarded_client(allowing("127.0.0.1")) as client:
            assert client.get(f"http://127.0.0.1:{outside.port}/").status_code == 302
        assert inside.connections == 0


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as proxy, listening() as listener:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        with guarded_client(allowing("127.0.0.1")) as client:
            client.get(f"http://127.0.0.1:{listener.port}/")
        assert (proxy.connections, listener.connections) == (0, 1)


def test_nobody_listening_is_unavailable_and_nothing_was_sent() -> None:
    with listening() as gone:
        port = gone.port
    with guarded_client(allowing("127.0.0.1")) as client, pytest.raises(Unavailable, match="cannot be reached") as caught:
        client.post(f"http://127.0.0.1:{port}/")
    assert not caught.value.sent


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"HTTP/1.1 20", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nno gzip", b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000_000,
    ],
)  # fmt: skip
def test_a_broken_answer_may_have_taken_effect(broken: bytes) -> None:
    settings = allowing("127.0.0.1", max_answer_bytes=1_000_000)
    with listening(answer=broken) as listener, guarded_client(settings) as client, pytest.raises(Unavailable) as caught:
        client.post(f"http://127.0.0.1:{listener.port}/", content=b"{}")
    assert caught.value.sent


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for erp.test with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "erp.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("erp.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "erp.pem"
    encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password) + certificate.public_bytes(encoding)
    )
    return file


def server_side(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    return context


def test_tls_asks_for_the_name_at_the_pinned_address(authority: Path) -> None:
    settings = allowing("erp.test", ca_file=authority)
    with listening(tls=server_side(authority)) as listener:
        with guarded_client(settings, resolve=lambda host, port: ["127.0.0.1"]) as client:
            assert client.get(f"https://erp.test:{listener.port}/").text == "ok"
        assert listener.names == ["erp.test"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_that_does_not_fit_is_a_matter_for_a_person(authority: Path, trusted: bool) -> None:
    host = "other.test" if trusted else "erp.test"
    settings = allowing(host, ca_file=authority if trusted else None)
    with listening(tls=server_side(authority)) as listener:
        with (
            guarded_client(settings, resolve=lambda host, port: ["127.0.0.1"]) as client,
            pytest.raises(Misconfigured, match="ca_file"),
        ):
            client.get(f"https://{host}:{listener.port}/")
        assert listener.requests == []


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for make in (Path.touch, lambda path: None):
        file = tmp_path / "ca.pem"
        make(file)
        with pytest.raises(Misconfigured, match=r"ca\.pem"):
            guarded_client(HttpConfig(ca_file=file))
        file.unlink(missing_ok=True)

"""GCS under its own name, for TensorFlow's and Beam's clients, in a network namespace of its own.

TensorFlow cannot be given another address than https://storage.googleapis.com, sends headers that
the emulator refuses, and wants https in its answers. Beam sends batches. So this stands in front
of the emulator, where that name is 127.0.0.1. It can refuse some requests, as a busy server does.
"""

from __future__ import annotations

import email
import http.client
import itertools
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gcs_server import gcs_server

HOSTS = ("storage.googleapis.com", "www.googleapis.com", "oauth2.googleapis.com")
BUCKET = "bucket"

# What the emulator does not know. Clients with credentials ask for a token first; before it renames
# a directory, TensorFlow asks whether the bucket has real ones.
_TOKEN = b'{"access_token": "token", "token_type": "Bearer", "expires_in": 3600}'
_LAYOUT = b'{"kind": "storage#storageLayout", "hierarchicalNamespace": {"enabled": false}}'
_OWN = {
    "/token": _TOKEN,
    "/oauth2/v3/token": _TOKEN,
    f"/storage/v1/b/{BUCKET}/storageLayout": _LAYOUT,
}
_REFUSAL = b'{"error": {"code": 503, "message": "Backend Error"}}'
# What speaks of one connection, and not of what is sent over it.
_OF_THE_CONNECTION = {"connection", "transfer-encoding", "content-length", "accept-encoding"}


class Front(BaseHTTPRequestHandler):
    """Passes every request on, in plain HTTP."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Head and content are written apart; each would wait 40 ms.
    emulator: int
    refused_every = 0
    numbers = itertools.count(1)

    def _answer(self) -> None:
        body = self._body()
        if self.refused_every and next(self.numbers) % self.refused_every == 0:
            status, headers, content = 503, [("Content-Type", "application/json")], _REFUSAL
        elif self.headers.get("Content-Range", "").startswith("bytes */"):
            # Whoever was refused asks how much of an upload is there. The emulator would take that
            # for an upload of nothing; it has always got all of one, or nothing.
            status, headers, content = 308, [], b""
        elif content := _OWN.get(self.path.partition("?")[0], b""):
            status, headers = 200, [("Content-Type", "application/json")]
        elif self.path.startswith("/batch/"):
            status, headers, content = 200, *self._batch(body)
        else:
            status, headers, content = self._pass_on(self.command, self.path, self.headers, body)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _body(self) -> bytes:
        """Chunks come first: TensorFlow sends them beside a length that is not theirs."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _pass_on(
        self, method: str, path: str, headers: Any, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        given = {
            name: value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.emulator)
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = [
            (name, value.replace("http://", "https://") if name == "Location" else value)
            for name, value in answer.getheaders()
            if name.lower() not in _OF_THE_CONNECTION
        ]
        return answer.status, kept, content

    def _batch(self, body: bytes) -> tuple[list[tuple[str, str]], bytes]:
        """One request for each part, and in the same order one part for each answer."""
        kind = self.headers["Content-Type"].encode()
        message = email.message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
        parts = []
        for part in message.walk():
            if part.is_multipart():
                continue
            line, _, rest = part.get_payload(decode=True).lstrip().partition(b"\n")
            method, path, _ = line.decode().split()
            request = email.message_from_bytes(rest)
            sent = request.get_payload(decode=True) or b""
            status, headers, content = self._pass_on(method, path, request, sent)
            head = "".join(f"{name}: {value}\r\n" for name, value in headers)
            parts.append(
                "--answer\r\nContent-Type: application/http\r\n\r\n"
                f"HTTP/1.1 {status} {http.client.responses[status]}\r\n{head}\r\n".encode()
                + content
                + b"\r\n"
            )
        kinds = [("Content-Type", "multipart/mixed; boundary=answer")]
        return kinds, b"".join(parts) + b"--answer--\r\n"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing."""


def lacking() -> str | None:
    """What this machine lacks for a network namespace and a certificate, or None."""
    if os.geteuid():
        return "root"
    return next((each for each in ("unshare", "ip", "openssl") if not shutil.which(each)), None)


@contextmanager
def gcs_network(
    directory: Path, refused_every: int = 0
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yields what goes before a command so that it finds GCS, and its environment.

    Args:
      directory: Empty.
      refused_every: Of so many requests one is answered with 503; 0: none is.
    """
    certificate, hosts = directory / "certificate.pem", directory / "hosts"
    names = ",".join(f"DNS:{each}" for each in HOSTS)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", f"/CN={HOSTS[0]}", "-addext", f"subjectAltName={names}"),
            *("-keyout", str(certificate), "-out", f"{certificate}.public"),
        ],
        check=True,
        capture_output=True,
    )
    public = Path(f"{certificate}.public")
    with certificate.open("a") as both:
        both.write(public.read_text())
    hosts.write_text(f"127.0.0.1 localhost {' '.join(HOSTS)}\n")
    user = directory / "credentials.json"
    secrets = dict.fromkeys(("client_id", "client_secret", "refresh_token"), "not-a-secret")
    user.write_text(json.dumps({"type": "authorized_user", **secrets}))
    script = 'ip link set lo up && mount --bind "$1" /etc/hosts && exec "$2" "$3" "$4" "$5"'
    command = [
        *("unshare", "--net", "--mount", "sh", "-c", script, "sh"),
        *(str(hosts), sys.executable, __file__, str(certificate), str(refused_every)),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout and server.stdout.readline() == b"ready\n"
        enter = ["nsenter", f"--target={server.pid}", "--net", "--mount", f"--wd={Path.cwd()}"]
        yield enter, _environment(public, user)
    finally:
        server.terminate()
        server.wait()


def _environment(certificate: Path, user: Path) -> dict[str, str]:
    trusted = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    return dict.fromkeys(trusted, str(certificate)) | {
        "GOOGLE_APPLICATION_CREDENTIALS": str(user),
        "GOOGLE_CLOUD_PROJECT": "tester",
        "NO_GCE_CHECK": "true",
        # The API of bucket layouts speaks gRPC, which the emulator does not.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }


def main(certificate: str, refused_every: str) -> None:
    """Serve until it is ended."""
    Front.refused_every = int(refused_every)
    with gcs_server() as url:
        Front.emulator = int(url.rpartition(":")[2])
        bucket = json.dumps({"name": BUCKET}).encode()
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/storage/v1/b?project=any", bucket, kind)
        urllib.request.urlopen(request)
        server = ThreadingHTTPServer(("127.0.0.1", 443), Front)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])

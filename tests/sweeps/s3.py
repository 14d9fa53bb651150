"""An object store: moto's server, reached by the real S3 file system of pyarrow, behind a gate that can be shut."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import boto3

BUCKET = "bucket"
SECRET = "sEcReT0123456789"
REGION = "us-east-1"


class Gate:
    """A port that leads to another one. While it is shut, who comes is refused, and who is inside is thrown out."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.inside: list[socket.socket] = []
        self.listener = self._bound(0)
        self.port: int = self.listener.getsockname()[1]
        self.open()

    def _bound(self, port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                guest, _ = listener.accept()
                host = socket.create_connection(("127.0.0.1", self.to))
                self.inside += [guest, host]
                for one, other in ((guest, host), (host, guest)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := one.recv(65536):
                other.sendall(content)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def shut(self) -> None:
        """The store is gone."""
        # An accept that waits keeps the port open otherwise.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.inside:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.inside.clear()
        # Nobody listens, but nobody else gets the port: other tests start servers meanwhile.
        self.listener = self._bound(self.port)

    def open(self) -> None:
        """It is back, with all that it had."""
        self.listener.listen(64)
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()


class Store:
    """The server, its gate, and who looks at it from behind."""

    def __init__(self, port: int) -> None:
        self.gate = Gate(port)
        self.client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION, aws_access_key_id="me", aws_secret_access_key=SECRET
        )
        self.client.create_bucket(Bucket=BUCKET)

    def uri(self, folder: str) -> str:
        """For `--storage`: with a user and a secret."""
        return f"s3://me:{SECRET}@{BUCKET}/{folder}?endpoint_override=127.0.0.1:{self.gate.port}&scheme=http&region={REGION}"

    def objects(self) -> dict[str, bytes]:
        """All that it holds."""
        found: dict[str, bytes] = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for entry in page.get("Contents", ()):
                found[entry["Key"]] = self.client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        return found


# On a port of the system's choice, so that nobody else can take it before; it says which.
SERVER = """
import signal
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
signal.pause()
"""


@contextlib.contextmanager
def store() -> Iterator[Store]:
    """An empty one, on this machine alone."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout
            port = server.stdout.readline()
            assert port, "moto's server does not start"
            yield Store(int(port))
        finally:
            server.kill()

"""An imitation of S3 on loopback, and a proxy before it that is busy and breaks connections."""

from __future__ import annotations

import http.client
import random
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BUCKET = "farm-bucket"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "imitated",
    "AWS_SECRET_ACCESS_KEY": "imitated",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUSY = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message><RequestId>0</RequestId></Error>"
)


class Faults(BaseHTTPRequestHandler):
    """Hands requests on, but for some: answered with 503, cut before they are handed on, or cut in their answer."""

    protocol_version = "HTTP/1.1"
    store: tuple[str, int]
    share: float  # of the requests that meet a fault
    draw: random.Random
    counts: dict[str, int]

    def handle_one(self) -> None:
        body = self._body()
        fault = self.draw.choice(("503", "cut before", "cut after")) if self.draw.random() < self.share else ""
        self.counts[fault or "handed on"] = self.counts.get(fault or "handed on", 0) + 1
        if fault == "503":
            self._answer(503, {"Content-Type": "application/xml"}, BUSY)
            return
        if fault == "cut before":
            self.close_connection = True
            return
        store = http.client.HTTPConnection(*self.store, timeout=60)
        store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            store.putheader(name, value)
        store.endheaders(body)
        answer = store.getresponse()
        content = answer.read()
        headers = {n: v for n, v in answer.getheaders() if n.lower() not in ("connection", "transfer-encoding")}
        store.close()
        if self.command == "HEAD":
            self._answer(answer.status, headers, b"", length=headers.get("Content-Length"))
        elif fault == "cut after":  # the store has done it, and nobody is told, or not all
            self._answer(answer.status, headers, content[: len(content) // 2], length=str(len(content) + 1))
            self.close_connection = True
        else:
            self._answer(answer.status, headers, content)

    def _body(self) -> bytes:
        """The body as it came, with the marks of its chunks if it has any."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while True:
            mark = self.rfile.readline()
            parts += [mark, self.rfile.read(int(mark, 16) + 2)]
            if int(mark, 16) == 0:
                return b"".join(parts)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

    def _answer(self, status: int, headers: dict[str, str], content: bytes, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass  # thousands of lines


class Store:
    """An empty bucket, and its address through the proxy."""

    def __init__(self, port: int, faults: type[Faults], client: Any) -> None:
        self._options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        self._faults, self.client = faults, client

    def address(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}?{self._options}"

    @property
    def counts(self) -> dict[str, int]:
        """How many requests met what."""
        return self._faults.counts

    def fail(self, share: float) -> None:
        """From now on let such a share of the requests meet a fault."""
        self._faults.share = share

    def files(self, prefix: str) -> dict[str, bytes]:
        """All that is below a prefix, read without the proxy."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {
            key.removeprefix(f"{prefix}/"): self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
            if not key.endswith("/")
        }

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def unfinished(self) -> list[Any]:
        """Uploads that were begun and neither completed nor given up."""
        return list(self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))


@contextmanager
def imitation(seed: int) -> Iterator[Store]:
    """An S3 that ends with the context."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What it holds belongs to the process, so an earlier store's files would still be there.
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket=BUCKET)
    more = {"store": (host, port), "share": 0.0, "draw": random.Random(seed), "counts": {}}
    faults = type("TheseFaults", (Faults,), more)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), faults)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield Store(proxy.server_address[1], faults, client)
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()

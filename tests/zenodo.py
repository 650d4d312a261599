"""A server that plays Zenodo and GitHub: records, files with ranges, and what goes wrong with them."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Zenodo:
    """Attributes are told before a request, and read after it.

    Attributes:
        files: name -> bytes, of record 1.
        checksums: name -> what the record says; the truth where it says nothing.
        cuts: bytes after which the next answers break off, one an answer.
        ranges: whether the server knows ranges.
        types: name -> Content-Type.
        fails: statuses of the next answers for files.
        asked: (path, Range) of every request.
    """

    def __init__(self):
        self.files, self.checksums, self.types = {}, {}, {}
        self.cuts, self.fails, self.asked = [], [], []
        self.ranges = True
        self.version = 1

    def record(self):
        files = [
            {
                "key": name,
                "size": len(content),
                "checksum": self.checksums.get(name, f"md5:{hashlib.md5(content).hexdigest()}"),
                "links": {"self": f"{self.address}/files/{name}"},
            }
            for name, content in self.files.items()
        ]
        metadata = {
            "title": "A kidney model",
            "license": {"id": "cc-by-4.0"},
            "creators": [{"name": "Doe, J."}, {"name": "Roe, R."}],
            "publication_date": "2026-01-02",
        }
        return {"id": 1, "files": files, "metadata": metadata}


def _handler(zenodo):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, content, headers=(), stop=None):
            self.send_response(status)
            for name, value in (("Content-Length", len(content)), *headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[:stop])
            if stop is not None:
                self.wfile.flush()
                self.close_connection = True

        def do_GET(self):
            zenodo.asked.append((self.path, self.headers.get("Range")))
            if self.path == "/api/records/1":
                self.answer(200, json.dumps(zenodo.record()).encode(), [("Content-Type", "application/json")])
                return
            name = self.path.rpartition("/")[2]
            if zenodo.fails:
                self.answer(zenodo.fails.pop(0), b"")
            elif name not in zenodo.files:
                self.answer(404, b"")
            else:
                self.file(name)

        def file(self, name):
            content, tag = zenodo.files[name], f'"{zenodo.version}"'
            headers = [("ETag", tag), ("Content-Type", zenodo.types.get(name, "application/zip"))]
            stop = zenodo.cuts.pop(0) if zenodo.cuts else None
            wanted = self.headers.get("Range")
            if wanted and zenodo.ranges and self.headers.get("If-Range") == tag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                whole = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.answer(206, content[start:], [*headers, ("Content-Range", whole)], stop)
            else:
                self.answer(200, content, headers, stop)

    return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that leaves early is no news."""


@contextlib.contextmanager
def served():
    """The server, at ``address``, until the block ends."""
    zenodo = Zenodo()
    server = _Server(("127.0.0.1", 0), _handler(zenodo))
    zenodo.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield zenodo
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A hub on this machine: what the client asks of the real one, in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """Repositories by name, each {commit: {file: content}}, the newest commit last."""

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    private: dict[str, bool] = field(default_factory=dict)
    address: str = ""

    def newest(self, name: str) -> dict[str, bytes]:
        return list(self.repositories[name].values())[-1]


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, code: int, body: bytes = b"{}", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_POST(self) -> None:
            hub.asked.append(f"POST {self.path}")
            body = (
                self.rfile.read(int(self.headers["Content-Length"] or 0)) if "Content-Length" in self.headers else b""
            )
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "repos"]:
                wanted = json.loads(body)
                name = "/".join(part for part in (wanted.get("organization"), wanted["name"]) if part)
                if name in hub.closed:
                    return self.answer(403, b'{"error": "no rights"}')
                hub.repositories.setdefault(name, {})
                hub.private[name] = wanted.get("private", wanted.get("visibility") == "private")
                return self.answer(200, json.dumps({"url": f"{hub.address}/{name}"}).encode())
            if parts[1] == "validate-yaml":
                return self.answer(200, b'{"errors": [], "warnings": []}')
            name = "/".join(parts[2:4])
            if parts[4] == "preupload":
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                return self.answer(200, json.dumps({"files": files}).encode())
            lines = [json.loads(line) for line in body.splitlines()]
            values = [line["value"] for line in lines if line["key"] == "file"]
            commit = hashlib.sha1(body).hexdigest()
            hub.repositories[name][commit] = {v["path"]: base64.b64decode(v["content"]) for v in values}
            address = f"{hub.address}/{name}/commit/{commit}"
            return self.answer(200, json.dumps({"commitUrl": address, "commitOid": commit}).encode())

        def do_GET(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[0] == "api":
                return self.answer(404)
            name, revision, file = "/".join(parts[:2]), parts[3], parts[4]
            if name in hub.gated:
                return self.answer(403, X_Error_Code="GatedRepo")
            if name not in hub.repositories:
                return self.answer(404, X_Error_Code="RepoNotFound")
            commits = hub.repositories[name]
            commit = list(commits)[-1] if revision == "main" else revision
            if commit not in commits:
                return self.answer(404, X_Error_Code="RevisionNotFound")
            if file not in commits[commit]:
                return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            content = commits[commit][file]
            etag = hashlib.sha1(content).hexdigest()
            return self.answer(200, content, ETag=f'"{etag}"', X_Repo_Commit=commit)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

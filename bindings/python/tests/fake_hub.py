"""What `huggingface_hub` asks of the hub's server to make a repository, commit files and fetch them, on this machine."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeHub(ThreadingHTTPServer):
    """Keeps commits of repositories in memory; the newest is `main`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.checked: list[str] = []
        # What the hub says against a card's YAML.
        self.complaint: str | None = None

    def ids(self, repository: str) -> list[str]:
        count = len(self.commits.get(repository, []))
        return [hashlib.sha1(f"{repository} {number}".encode()).hexdigest() for number in range(count)]

    def tree(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        ids = self.ids(repository)
        if revision == "main":
            revision = ids[-1] if ids else ""
        return (revision, self.commits[repository][ids.index(revision)]) if revision in ids else None


class Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, value: object, code: int = 200) -> None:
        self.reply(code, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer token-of-a-test":
            return self.reply_json({"error": "no token"}, 401)
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            there = repository in self.server.commits
            self.server.commits.setdefault(repository, [])
            # The package says it in one way up to version 1, and in another from 2 on.
            private = asked.get("private") or asked.get("visibility") == "private"
            self.server.private.setdefault(repository, bool(private))
            return self.reply_json({"url": self.address(repository)}, 409 if there else 200)
        if path == "/api/validate-yaml":
            self.server.checked.append(json.loads(body)["content"])
            if self.server.complaint:
                return self.reply_json({"errors": [{"message": self.server.complaint}], "warnings": []}, 400)
            return self.reply_json({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]
            return self.reply_json({"files": modes})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            return self.commit(found[1], [json.loads(line) for line in body.splitlines()])
        return self.reply_json({"error": f"no {path} here"}, 404)

    def commit(self, repository: str, lines: list[dict]) -> None:
        commits = self.server.commits[repository]
        files = {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines[1:]}
        commits.append({**(commits[-1] if commits else {}), **files})
        found = self.server.tree(repository, "main")
        assert lines[0]["key"] == "header" and all(line["key"] == "file" for line in lines[1:]) and found
        self.reply_json({"success": True, "commitOid": found[0], "commitUrl": f"{self.address(repository)}/commit/{found[0]}"})

    def address(self, repository: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{repository}"

    def do_GET(self) -> None:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if not found or found[1] not in self.server.commits:
            return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})
        tree = self.server.tree(found[1], found[2])
        if tree is None:
            return self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        commit, files = tree
        if found[3] not in files:
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        content = files[found[3]]
        tag = hashlib.sha256(content).hexdigest()
        self.reply(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": commit})

    do_HEAD = do_GET

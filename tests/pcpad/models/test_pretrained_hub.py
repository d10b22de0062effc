"""Trained networks on a hub that runs in this process; the hub's own client, in a process of its own, speaks to it."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.hub
COMMIT = "c0ffee" * 6 + "c0ff"
WRITE = """
from pcpad.models import filtering_unet, save_pretrained
import torch
torch.manual_seed(0)
save_pretrained(filtering_unet(width=4), "smooth", "filtering_unet", {"width": 4}, data="noise", license="CC0-1.0")
"""
READ = """
import sys, torch
from pcpad.models import from_pretrained
network = from_pretrained(sys.argv[1], revision=sys.argv[2] if len(sys.argv) > 2 else None)
torch.manual_seed(0)
print(float(network(torch.rand(1, 3, 32, 32)).sum()))
"""
PUSH = "from pcpad.models import push_to_hub; print(push_to_hub('smooth', 'me/smooth', token='hf_of_the_test'))"


class Hub(ThreadingHTTPServer):
    """Repositories of files, and what was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.made, self.tokens = {}, [], [], set()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, content=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def say(self, code=200, **content):
        self.answer(code, json.dumps(content).encode(), Content_Type="application/json")

    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        repository, _, rest = self.path.strip("/").partition("/resolve/")
        name = rest.partition("/")[2]
        content = self.server.files.get((repository, name))
        if content is None:
            kind = "EntryNotFound" if any(key[0] == repository for key in self.server.files) else "RepoNotFound"
            self.answer(404, X_Error_Code=kind)
            return
        self.answer(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.tokens.add(self.headers["Authorization"])
        if self.path == "/api/repos/create":
            given = json.loads(body)
            self.server.made.append((given.get("organization"), given["name"]))
            self.say(url=f"{self.server.address}/me/smooth")
        elif self.path == "/api/validate-yaml":
            self.say(errors=[], warnings=[])
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self.say(files=[{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names])
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    file = line["value"]
                    self.server.files["me/smooth", file["path"]] = base64.b64decode(file["content"])
            self.say(commitUrl=f"{self.server.address}/me/smooth/commit/{COMMIT}", commitOid=COMMIT, success=True)
        else:
            self.answer(404)


@pytest.fixture
def hub():
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(hub, tmp_path):
    """Runs a program that knows no other hub than this one."""

    def start(code, *args, **environment):
        home = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1"}
        own = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_"))}
        return subprocess.run(
            [sys.executable, "-c", code, *args],
            cwd=tmp_path,
            env={**own, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*", "no_proxy": "*", **home, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    assert start(WRITE).returncode == 0
    return start


def test_what_is_pushed_is_fetched_once_and_then_found_in_the_cache(hub, run, tmp_path):
    pushed = run(PUSH)
    assert pushed.stdout == f"{hub.address}/me/smooth/commit/{COMMIT}\n", pushed.stderr
    assert sorted(name for _, name in hub.files) == ["README.md", "config.json", "model.safetensors"]
    assert hub.files["me/smooth", "model.safetensors"] == (tmp_path / "smooth" / "model.safetensors").read_bytes()
    assert hub.made[0][1] == "smooth"
    assert "Bearer hf_of_the_test" in hub.tokens
    first = run(READ, "me/smooth")
    assert first.stdout == run(READ, "smooth").stdout != "", first.stderr
    assert {path.rpartition("/")[2] for _, path in hub.asked} == {"config.json", "model.safetensors"}
    # The weights are asked for at the description's commit, whatever was pushed meanwhile.
    assert all(f"/{COMMIT}/" in path for _, path in hub.asked if path.endswith("safetensors"))
    hub.asked.clear()
    again = run(READ, "me/smooth", HF_ENDPOINT="http://127.0.0.1:1")
    assert (again.stdout, again.stderr) == (first.stdout, first.stderr)
    assert hub.asked == []


@pytest.mark.faults
def test_a_description_that_is_refused_costs_no_weights(hub, run, tmp_path):
    for name in ("config.json", "model.safetensors"):
        hub.files["me/evil", name] = (tmp_path / "smooth" / name).read_bytes()
    hub.files["me/evil", "config.json"] = hub.files["me/evil", "config.json"].replace(b"filtering_unet", b"os.system")
    done = run(READ, "me/evil")
    assert "UserValueError" in done.stderr
    assert "expected one of classifier" in done.stderr
    assert not any(path.endswith("safetensors") for _, path in hub.asked)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("args", "environment", "said"),
    [
        (
            ("me/nothing",),
            {},
            "UserFileNotFoundError: There is no folder me/nothing, and config.json of me/nothing could",
        ),
        (("me/nothing", "v2"), {"HF_HUB_OFFLINE": "1"}, "config.json of me/nothing at v2 could not be downloaded"),
        (("me/nothing",), {"HF_ENDPOINT": "http://127.0.0.1:1"}, "could not be downloaded from the hub"),
    ],
)
def test_a_hub_without_it_is_told(run, args, environment, said):
    done = run(READ, *args, **environment)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.faults
def test_a_hub_that_refuses_is_told(run):
    done = run(PUSH, HF_ENDPOINT="http://127.0.0.1:1")
    assert "UserRuntimeError: me/smooth could not be pushed to the hub: " in done.stderr


@pytest.mark.faults
def test_without_the_client_the_extra_is_named(run):
    code = f"import sys; sys.modules['huggingface_hub'] = None\n{READ}"
    assert "UserModuleNotFoundError: The Hugging Face hub needs huggingface_hub" in run(code, "me/x").stderr
    done = run(code, "smooth")
    assert done.returncode == 0, done.stderr

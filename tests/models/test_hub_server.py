"""Models pushed to a stand-in of the Hugging Face Hub, on this machine, and loaded again."""

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch
import yaml

from cmvae import CMVAE, CMVAEConfig
from cmvae.models.hub import model_card

ABOUT = {"license": "mit", "dataset": "made-up numbers"}


class Hub:
    """Repositories in memory: {id: {revision: {path: content}}}."""

    def __init__(self):
        self.repositories, self.asked = {}, []

    def files(self, repo, revision):
        for files in self.repositories.get(repo, {}).values():
            if revision == commit_of(files):
                return files
        return self.repositories.get(repo, {}).get(revision)


def commit_of(files):
    names = json.dumps({name: hashlib.sha1(own).hexdigest() for name, own in sorted(files.items())})
    return hashlib.sha1(names.encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks to make, fill and fetch a repository of a model."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self):
        return self.server.hub

    def log_message(self, *_):
        pass

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self):
        self.hub.asked.append(self.path)
        body, path = self.body(), self.path.partition("?")[0]
        if path == "/api/repos/create":
            made = json.loads(body)
            repo = f"{made.get('organization') or 'lab'}/{made['name']}"
            self.hub.repositories.setdefault(repo, {"main": {}})
            self.answer({"url": f"http://{self.headers['Host']}/{repo}", "name": repo})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/(\w+/\w+)/branch/(\w+)", path):
            branches = self.hub.repositories[found[1]]
            branches.setdefault(found[2], dict(branches["main"]))
            self.answer({})
        elif found := re.fullmatch(r"/api/models/(\w+/\w+)/preupload/(\w+)", path):
            names = [file["path"] for file in json.loads(body)["files"]]
            kind = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer({"files": [{"path": name, **kind} for name in names]})
        elif found := re.fullmatch(r"/api/models/(\w+/\w+)/commit/(\w+)", path):
            files = self.hub.repositories[found[1]][found[2]]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            commit = commit_of(files)
            url = f"http://{self.headers['Host']}/{found[1]}/commit/{commit}"
            self.answer({"success": True, "commitOid": commit, "commitUrl": url})
        else:
            self.answer({"error": f"no {path}"}, 404)

    def do_GET(self):
        self.hub.asked.append(self.path)
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/(\w+/\w+)(?:/revision/(\w+))?", path):
            files = self.hub.files(found[1], found[2] or "main")
            if files is None:
                self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
                return
            siblings = [{"rfilename": name} for name in files]
            about = {"id": found[1], "sha": commit_of(files), "siblings": siblings}
            self.answer({**about, "private": False, "tags": [], "downloads": 0, "likes": 0})
        elif found := re.fullmatch(r"/api/models/(\w+/\w+)/tree/(\w+)", path):
            files = self.hub.files(found[1], found[2])
            sizes = {name: (len(own), hashlib.sha1(own).hexdigest()) for name, own in files.items()}
            self.answer(
                [
                    {"type": "file", "path": name, "size": size, "oid": oid}
                    for name, (size, oid) in sizes.items()
                ]
            )
        elif found := re.fullmatch(r"/(\w+/\w+)/resolve/(\w+)/(.+)", path):
            files = self.hub.files(found[1], found[2])
            content = files[found[3]]
            tag = f'"{hashlib.sha1(content).hexdigest()}"'
            self.answer(content, ETag=tag, X_Repo_Commit=commit_of(files))
        else:
            self.answer({"error": f"no {path}"}, 404)

    do_HEAD = do_GET


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub, server.daemon_threads = Hub(), True
    Thread(target=server.serve_forever, daemon=True).start()
    server.hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield server.hub
    server.shutdown()
    server.server_close()


def run_with(address, code, folder):
    """Run code in a process whose Hub is elsewhere; return what it prints, and how long it took."""
    own = {"HF_ENDPOINT": address, "HF_HOME": str(folder), "HF_TOKEN": "hf_stand_in"}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **own, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), time.monotonic() - start


def model(seed=0, **fields):
    torch.manual_seed(seed)
    shapes = {"a": 4, "b": 3}
    settings = {"modalities_specific_dim": 2, "hidden_dims": (8,), **fields}
    return CMVAE(CMVAEConfig(n_modalities=2, input_dims=shapes, **settings))


ROUND_TRIP = """
import torch
from cmvae import CMVAE, CMVAEConfig

def model(seed):
    torch.manual_seed(seed)
    fields = {"modalities_specific_dim": 2, "hidden_dims": (8,), "input_dims": {"a": 4, "b": 3}}
    return CMVAE(CMVAEConfig(n_modalities=2, **fields))

def load(**where):
    try:
        state = CMVAE.from_pretrained(**where).state_dict()
    except ValueError as error:
        return error
    same = lambda other: all(torch.equal(x, state[n]) for n, x in other.state_dict().items())
    return [seed for seed in range(3) if same(model(seed))]

about = {"license": "mit", "dataset": "made-up numbers"}
first = model(0).push_to_hub("lab/digits", **about, metrics={"NMI": 0.91})
model(1).push_to_hub("lab/digits", **about, revision="wide")
name = "pretrained_model_name_or_path"
print(load(**{name: "lab/digits"}))
print(load(**{name: "lab/digits", "revision": "wide"}))
print(load(**{name: "lab/digits", "revision": first.rpartition("/")[2]}))
print(load(**{name: "lab/digits", "revision": "none"}))
print(load(**{name: "lab/none"}))
"""


def test_models_go_to_the_hub_and_come_back_by_revision(hub, tmp_path):
    told, _ = run_with(hub.address, ROUND_TRIP, tmp_path)
    assert told[:3] == ["[0]", "[1]", "[0]"]
    assert "lab/digits: no such folder, and the Hugging Face Hub gives no model" in told[3]
    assert "lab/none: no such folder, and the Hugging Face Hub gives no model" in told[4]
    assert len(told) == 5
    branches = hub.repositories["lab/digits"]
    assert set(branches) == {"main", "wide"}
    assert set(branches["main"]) == {"README.md", "config.json", "model.safetensors"}
    assert "license: mit" in branches["main"]["README.md"].decode()
    assert not any(".pkl" in path or ".bin" in path for path in hub.asked)


DOWN = """
from cmvae import CMVAE, CMVAEConfig
model = CMVAE(CMVAEConfig(n_modalities=1, input_dims={"a": 4}, modalities_specific_dim=2))
def push():
    model.push_to_hub("lab/digits", license="mit", dataset="numbers")
for act in (push, lambda: CMVAE.from_pretrained("lab/digits")):
    try:
        act()
    except ValueError as error:
        print(error)
"""


def test_a_hub_that_is_down_is_told_in_a_line_and_soon(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        told, seconds = run_with(address, DOWN, tmp_path)
    assert len(told) == 2
    assert told[0].startswith("lab/digits: the model was not pushed: the Hugging Face Hub")
    assert all(f"({address}) cannot be reached" in line for line in told)
    assert seconds < 60


def test_the_card_says_what_it_is():
    pushed = model(number_of_clusters=7)
    card = model_card(pushed, "lab/digits", **ABOUT, metrics={"NMI": 0.9123, "a|b": 2})
    top = yaml.safe_load(card.split("---")[1])
    assert (top["license"], top["library_name"]) == ("mit", "cmvae")
    (results,) = top["model-index"][0]["results"]
    assert results["dataset"]["name"] == "made-up numbers"
    assert results["metrics"][0] == {"type": "NMI", "name": "NMI", "value": 0.9123}
    for words in ("| clusters | 7 |", "a (4,), b (3,)", "| NMI | 0.9123 |", "cmvae 0.", "torch 2."):
        assert words in card
    assert 'CMVAE.from_pretrained("lab/digits")' in card
    assert "## Measured" not in model_card(pushed, "lab/digits", **ABOUT)


def test_the_card_says_which_networks_to_pass():
    own = {"a": model().decoders["a"]}
    settings = {"input_dims": {"a": 4, "b": 3}, "modalities_specific_dim": 2}
    custom = CMVAE(CMVAEConfig(n_modalities=2, **settings, hidden_dims=(8,)), decoders=own)
    card = model_card(custom, "lab/digits", **ABOUT)
    assert 'from_pretrained("lab/digits", decoders=decoders)' in card
    assert "its makers' own (decoders.a)" in card


@pytest.mark.parametrize(
    ("error", "repo", "changes", "match"),
    [
        (ValueError, "lab/digits", {"license": None}, "license must say who may use .* got None"),
        (ValueError, "lab/digits", {"license": ""}, "license must say who"),
        (ValueError, "lab/digits", {"license": "All rights\n---"}, "license must say who"),
        (ValueError, "lab/digits", {"dataset": " "}, "dataset must name the data"),
        (ValueError, "digits", {}, "repo_id must be an id of the Hub, 'owner/name', got 'digits'"),
        (ValueError, 3, {}, "repo_id must be an id"),
        (TypeError, "lab/digits", {"metrics": [0.9]}, "metrics must be a mapping"),
        (ValueError, "lab/digits", {"metrics": {"NMI": "high"}}, r"metrics\['NMI'\] must be a fin"),
        (ValueError, "lab/digits", {"metrics": {"NMI": float("nan")}}, "must be a finite number"),
        (TypeError, "lab/digits", {"revision": 3}, "revision must be the name of a branch"),
        (TypeError, "lab/digits", {"description": 3}, "description must be a text"),
        (TypeError, "lab/digits", {"private": 3}, "private"),
    ],
)
def test_odd_values_are_refused_before_anything_is_sent(error, repo, changes, match):
    with pytest.raises(error, match=match):
        model().push_to_hub(repo, **{**ABOUT, **changes})


def test_a_licence_and_the_data_are_asked_for():
    with pytest.raises(TypeError, match="license"):
        model().push_to_hub("lab/digits", dataset="numbers")

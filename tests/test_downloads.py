"""CIFAR-10 and resnet18 through torchvision's loaders: present, downloaded from loopback, damaged, or not there."""

import hashlib
import io
import pickle
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision import models
from torchvision.datasets import CIFAR10

from featlab import downloads, samples


@pytest.fixture
def server(monkeypatch):
    """Serve .files (path -> bytes) on loopback; .claims is a false length, .silent the methods never answered."""
    state = SimpleNamespace(files={}, claims=None, silent=(), asked=[], closing=threading.Event())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.command)
            if self.command in state.silent:
                state.closing.wait(20)
                return
            content = state.files.get(self.path)
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(state.claims or len(content or b"")))
            self.end_headers()
            if content and self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield state
    state.closing.set()
    http.shutdown()
    http.server_close()


@pytest.fixture
def nobody(server):
    """Return the address of a port where nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        return f"http://127.0.0.1:{http.server_port}"


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(autouse=True)
def no_trace():
    """Whatever happens, the random generator and the sockets' timeout are as they were."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)
    assert socket.getdefaulttimeout() is None


# resnet18


@pytest.fixture(scope="module")
def stored():
    """Return a resnet18 that torchvision drew, and the bytes of its state_dict."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.resnet18()
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return model, buffer.getvalue()


@pytest.fixture
def publish(stored, checkpoints, monkeypatch):
    """Give torchvision these bytes as its ImageNet weights, to be had from `url`; return the file's name."""

    def at(url):
        name = f"resnet18-{hashlib.sha256(stored[1]).hexdigest()[:8]}.pth"
        monkeypatch.setattr(models.ResNet18_Weights.DEFAULT.value, "url", f"{url}/{name}")
        return name

    return at


def assert_same(model, expected):
    mine, other = model.state_dict(), expected.state_dict()
    assert list(mine) == list(other)
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert [module.training for module in model.modules()] == [module.training for module in expected.modules()]
    assert all(type(p) is torch.nn.Parameter and p.requires_grad and p.is_leaf for p in model.parameters())


def test_weights_that_are_present_are_used_without_the_network(stored, publish, checkpoints, nobody):
    name = publish(nobody)
    checkpoints.mkdir(parents=True)
    (checkpoints / name).write_bytes(stored[1])
    assert_same(samples.resnet18(), stored[0])


def test_missing_weights_are_downloaded_and_kept(stored, publish, checkpoints, server):
    name = publish(server.url)
    server.files[f"/{name}"] = stored[1]
    assert_same(samples.resnet18(), stored[0])
    assert (checkpoints / name).read_bytes() == stored[1]
    assert_same(samples.resnet18(), stored[0])
    assert server.asked.count("GET") == 1


def test_missing_weights_without_a_server_say_where_they_would_lie_and_what_to_do(publish, checkpoints, nobody):
    name = publish(nobody)
    with pytest.raises(samples.NotAvailable) as caught:
        samples.resnet18()
    message = str(caught.value)
    assert name in message and str(checkpoints) in message and "or_random=True" in message and "refused" in message
    assert caught.value.__cause__ is None and caught.value.__context__ is None  # no trace of urllib above it
    assert len(message.splitlines()) == 1


def test_a_notebook_shows_the_sentence_and_no_stack_trace():
    ipython = [sys.executable, "-m", "IPython", "--colors=nocolor", "-c"]
    code = "from featlab.samples import cifar10; cifar10(root='nowhere')"
    done = subprocess.run([*ipython, code], capture_output=True, text=True)
    assert re.fullmatch(r"NotAvailable: CIFAR-10 is not in nowhere: call samples\.cifar10\(.*\.\n", done.stdout)


def test_random_weights_are_the_callers_choice_and_announced_each_time(publish, nobody, capsys):
    publish(nobody)
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            model = samples.resnet18(or_random=True)
            torch.manual_seed(5)
            expected = models.resnet18()
        assert_same(model, expected)
        assert "random weights" in capsys.readouterr().out


def test_weights_that_are_there_are_never_announced_as_random(stored, publish, checkpoints, nobody, capsys):
    name = publish(nobody)
    checkpoints.mkdir(parents=True)
    (checkpoints / name).write_bytes(stored[1])
    assert_same(samples.resnet18(or_random=True), stored[0])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("damage", ["half of it", "one bit", "empty"])
def test_a_damaged_weight_file_is_named_and_not_used(damage, stored, publish, checkpoints, server, capsys):
    name = publish(server.url)
    server.files[f"/{name}"] = stored[1]
    content = bytearray(stored[1])
    content[len(content) // 2] ^= 1
    checkpoints.mkdir(parents=True)
    file = checkpoints / name
    file.write_bytes({"half of it": stored[1][: len(stored[1]) // 2], "one bit": content, "empty": b""}[damage])
    with pytest.raises(samples.NotAvailable, match=f"{name} is damaged .*not used: delete it") as caught:
        samples.resnet18()
    assert str(file) in str(caught.value)
    with torch.random.fork_rng(devices=[]):
        samples.resnet18(or_random=True)
    assert "random weights" in capsys.readouterr().out
    assert server.asked == []
    file.unlink()  # as told
    assert_same(samples.resnet18(), stored[0])


@pytest.mark.parametrize("how", ["other bytes", "cut off"])
def test_a_damaged_download_is_noticed_and_leaves_nothing_behind(how, stored, publish, checkpoints, server):
    name = publish(server.url)
    server.files[f"/{name}"] = b"not the weights" if how == "other bytes" else stored[1][:100_000]
    server.claims = len(stored[1]) if how == "cut off" else None
    with pytest.raises(samples.NotAvailable, match=f"{name} (came damaged|could not be fetched) from .*or_random"):
        samples.resnet18()
    assert list(checkpoints.iterdir()) == []


def test_a_half_finished_download_does_not_count_as_present(stored, publish, checkpoints, nobody):
    name = publish(nobody)
    checkpoints.mkdir(parents=True)
    (checkpoints / f"{name}.0123.partial").write_bytes(stored[1])
    with pytest.raises(samples.NotAvailable):
        samples.resnet18()


@pytest.mark.parametrize("silent", [("HEAD", "GET"), ("GET",)])
def test_a_server_that_never_answers_is_given_up(silent, publish, server, monkeypatch):
    publish(server.url)
    server.silent = silent
    monkeypatch.setattr(downloads, "PATIENCE", 0.3)
    start = time.monotonic()
    with pytest.raises(samples.NotAvailable, match="could not be fetched"):
        samples.resnet18()
    assert time.monotonic() - start < 10


def test_a_name_that_is_looked_up_for_ever_is_given_up(publish, server, monkeypatch):
    publish("http://far-away.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: server.closing.wait(20))
    monkeypatch.setattr(downloads, "PATIENCE", 0.3)
    start = time.monotonic()
    with pytest.raises(samples.NotAvailable, match="could not be fetched .*no answer within 0.3 s"):
        samples.resnet18()
    assert time.monotonic() - start < 10


def test_a_server_without_the_file_says_so(publish, server):
    publish(server.url)
    with pytest.raises(samples.NotAvailable, match="404"):
        samples.resnet18()


# CIFAR-10


@pytest.fixture
def published(server, monkeypatch):
    """Give torchvision a CIFAR-10 of two train files with 3 images each and one test file with 2."""
    draw = np.random.default_rng(0)

    def batch(size):
        pixels = draw.integers(0, 256, (size, 3 * 32 * 32), dtype=np.uint8)
        return pickle.dumps({"data": pixels, "labels": list(range(size))})

    contents = {"data_batch_1": batch(3), "data_batch_2": batch(3), "test_batch": batch(2)}
    contents["batches.meta"] = pickle.dumps({"label_names": ["cat", "dog", "ship"]})
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{CIFAR10.base_folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(CIFAR10, "url", f"{server.url}/{CIFAR10.filename}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.getvalue()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in ("data_batch_1", "data_batch_2")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    server.files[f"/{CIFAR10.filename}"] = archive.getvalue()
    return SimpleNamespace(archive=archive.getvalue(), contents=contents)


def test_cifar10_is_downloaded_once_and_then_used_as_it_lies(published, server, tmp_path):
    samples.cifar10(root=tmp_path, download=True)
    data = samples.cifar10(train=True, root=tmp_path)
    assert server.asked.count("HEAD") == 1
    assert isinstance(data, CIFAR10)
    assert (len(data), len(samples.cifar10(root=tmp_path))) == (6, 2)
    image, label = data[4]
    pixels = pickle.loads(published.contents["data_batch_2"])["data"][1].reshape(3, 32, 32)
    assert (type(image), image.dtype, label) == (torch.Tensor, torch.float32, 1)
    torch.testing.assert_close(image, torch.from_numpy(pixels) / 255)


def test_cifar10_lies_with_torch_hubs_files_unless_a_root_is_given(published, checkpoints):
    samples.cifar10(download=True)
    assert (checkpoints.parent / "datasets" / CIFAR10.base_folder / "test_batch").exists()


def test_missing_cifar10_is_not_fetched_unasked(published, server, tmp_path):
    with pytest.raises(samples.NotAvailable, match=r"not in .*cifar10\(download=True\)") as caught:
        samples.cifar10(root=tmp_path / "here")
    assert str(tmp_path / "here") in str(caught.value)
    assert server.asked == [] and not (tmp_path / "here").exists()


def test_cifar10_without_a_server_says_what_to_do(published, nobody, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", f"{nobody}/{CIFAR10.filename}")
    with pytest.raises(samples.NotAvailable, match=f"could not be fetched .*put its archive {CIFAR10.filename} into"):
        samples.cifar10(root=tmp_path, download=True)
    (tmp_path / CIFAR10.filename).write_bytes(published.archive)  # as told
    assert len(samples.cifar10(root=tmp_path, download=True)) == 2


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
@pytest.mark.parametrize("download", [False, True])
def test_a_damaged_cifar10_is_named_not_used_and_mended_as_told(name, damage, download, published, tmp_path):
    samples.cifar10(root=tmp_path, download=True)
    folder = tmp_path / CIFAR10.base_folder
    (folder / name).unlink()
    if damage == "changed":
        (folder / name).write_bytes(pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "labels": [0, 0, 0]}))
    with pytest.raises(samples.NotAvailable, match=f"damaged or incomplete \\({name}.*not used: delete that folder"):
        samples.cifar10(root=tmp_path, download=download)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert len(samples.cifar10(root=tmp_path, download=True)) == 2


def test_a_half_finished_cifar10_archive_does_not_count(published, server, tmp_path):
    (tmp_path / CIFAR10.filename).write_bytes(published.archive[:-100])
    with pytest.raises(samples.NotAvailable, match="not in"):
        samples.cifar10(root=tmp_path)
    assert len(samples.cifar10(root=tmp_path, download=True)) == 2
    assert "GET" in server.asked


def test_a_damaged_cifar10_download_is_not_unpacked(published, server, tmp_path):
    server.files[f"/{CIFAR10.filename}"] = published.archive[:-100]
    with pytest.raises(samples.NotAvailable, match="CIFAR-10 came damaged from .*not used"):
        samples.cifar10(root=tmp_path, download=True)
    assert not (tmp_path / CIFAR10.base_folder).exists()

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torchvision import datasets
from torchvision.datasets import caltech
from torchvision.datasets.utils import download_and_extract_archive

from mlfd_tune.core.data.prepare import (
    can_download,
    download,
    find,
    instructions,
    published_sources,
)
from mlfd_tune.core.errors import UserError
from tests.helpers.command import ENVIRONMENT
from tests.helpers.layouts_cifar import write_cifar10, write_cifar100
from tests.helpers.layouts_fine_grained import write_caltech101, write_flowers102, write_pets


class Server(ThreadingHTTPServer):
    """Serves a folder on this machine alone."""

    def __init__(self, folder: Path, handler: type = SimpleHTTPRequestHandler) -> None:
        super().__init__(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away."""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The folder that the server serves."""
    folder = tmp_path / "published"
    folder.mkdir()
    return folder


@pytest.fixture
def server(published: Path) -> Iterator[Server]:
    running = Server(published)
    yield running
    running.shutdown()
    running.server_close()


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def pack(folder: Path, archive: Path, format_: str = "gztar") -> Path:
    """Pack a folder with its own name; returns the archive."""
    suffix = {"gztar": ".tar.gz", "zip": ".zip"}[format_]
    base = str(archive).removesuffix(suffix).removesuffix(".tgz")
    made = Path(shutil.make_archive(base, format_, folder.parent, folder.name))
    return made.rename(archive)


@pytest.fixture
def cifar10(tmp_path: Path, published: Path, server: Server, monkeypatch) -> type:
    """CIFAR10 of torchvision, which finds a small archive at the server."""
    folder = write_cifar10(tmp_path / "source") / "cifar-10-batches-py"
    archive = pack(folder, published / "cifar-10-python.tar.gz")
    kind = datasets.CIFAR10
    batches = [
        [f"data_batch_{number}", md5(folder / f"data_batch_{number}")] for number in range(1, 6)
    ]
    monkeypatch.setattr(kind, "url", f"{server.address}/{archive.name}")
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    monkeypatch.setattr(kind, "train_list", batches)
    monkeypatch.setattr(kind, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / "batches.meta")})
    return kind


def refused(source: str, folder: Path) -> str:
    """Try a download that fails; returns the one line that says why."""
    with pytest.raises(UserError) as caught:
        download(source, folder)
    assert len(caught.value.problems) == 1
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_cifar_is_downloaded_checked_and_leaves_nothing_else(cifar10, tmp_path):
    folder = tmp_path / "data/cifar"
    download("cifar10", folder)
    assert [path.name for path in folder.iterdir()] == ["cifar-10-batches-py"]
    assert not list(folder.rglob("*.gz"))
    ready = find("cifar10", folder)
    assert (ready.classes, ready.images) == (10, {"train": 100, "test": 20})
    assert "100 training images; the published dataset has 50,000" in ready.notes


def test_a_folder_of_the_dataset_s_own_name_is_filled_itself(cifar10, tmp_path):
    folder = tmp_path / "data/cifar-10-batches-py"
    folder.mkdir(parents=True)
    download("cifar10", folder)
    assert (folder / "test_batch").is_file()
    assert find("cifar10", folder).images["test"] == 20


def test_what_lies_beside_is_left_alone(cifar10, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.txt").write_text("mine")
    download("cifar10", tmp_path / "data")
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == ["cifar-10-batches-py", "notes.txt"]


def test_cifar100_is_downloaded_too(tmp_path, published, server, monkeypatch):
    folder = write_cifar100(tmp_path / "source") / "cifar-100-python"
    archive = pack(folder, published / "cifar-100-python.tar.gz")
    kind = datasets.CIFAR100
    monkeypatch.setattr(kind, "url", f"{server.address}/{archive.name}")
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    monkeypatch.setattr(kind, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(kind, "test_list", [["test", md5(folder / "test")]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / "meta")})
    download("cifar100", tmp_path / "data")
    assert find("cifar100", tmp_path / "data").classes == 100


def test_flowers_are_downloaded_in_three_files(tmp_path, published, server, monkeypatch):
    folder = write_flowers102(tmp_path / "source")
    archive = pack(folder / "jpg", published / "102flowers.tgz")
    for name in ("imagelabels.mat", "setid.mat"):
        shutil.copy(folder / name, published / name)
    kind = datasets.Flowers102
    files = {role: (name, md5(published / name)) for role, (name, _) in kind._file_dict.items()}
    monkeypatch.setattr(kind, "_download_url_prefix", f"{server.address}/")
    monkeypatch.setattr(kind, "_file_dict", files)
    download("flowers102", tmp_path / "data")
    names = sorted(path.name for path in (tmp_path / "data/flowers-102").iterdir())
    assert names == ["imagelabels.mat", "jpg", "setid.mat"]
    assert find("flowers102", tmp_path / "data").classes == 3
    shutil.rmtree(tmp_path / "data")

    monkeypatch.setattr(kind, "_file_dict", {**files, "label": ("imagelabels.mat", "0" * 32)})
    assert "checksum" in refused("flowers102", tmp_path / "data")
    assert archive.is_file()


def test_pets_are_downloaded_in_two_archives(tmp_path, published, server, monkeypatch):
    folder = write_pets(tmp_path / "source")
    archives = [
        pack(folder / name, published / f"{name}.tar.gz") for name in ("images", "annotations")
    ]
    resources = tuple((f"{server.address}/{path.name}", md5(path)) for path in archives)
    kind = datasets.OxfordIIITPet
    monkeypatch.setattr(kind, "_RESOURCES", resources)
    download("pets", tmp_path / "data")
    names = sorted(path.name for path in (tmp_path / "data/oxford-iiit-pet").iterdir())
    assert names == ["annotations", "images"]
    assert find("pets", tmp_path / "data").classes == 3
    shutil.rmtree(tmp_path / "data")

    monkeypatch.setattr(kind, "_RESOURCES", (resources[0], (resources[1][0], "0" * 32)))
    assert "checksum" in refused("pets", tmp_path / "data")


def test_caltech_is_downloaded_as_an_archive_in_an_archive(
    tmp_path, published, server, monkeypatch
):
    write_caltech101(tmp_path / "source")
    inner = tmp_path / "caltech-101"
    inner.mkdir()
    with tarfile.open(inner / "101_ObjectCategories.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "source/101_ObjectCategories", "101_ObjectCategories")
    archive = pack(inner, published / "caltech-101.zip", "zip")
    sums = {"published": md5(archive)}

    def from_here(url: str, *, md5: str, **settings: str) -> None:
        """The same download from another address; torchvision has this one in its code."""
        assert len(md5) == 32
        address = f"{server.address}/{settings['filename']}"
        download_and_extract_archive(address, md5=sums["published"], **settings)

    monkeypatch.setattr(caltech, "download_and_extract_archive", from_here)
    download("caltech101", tmp_path / "data")
    names = sorted(path.name for path in (tmp_path / "data").rglob("*") if path.is_dir())
    assert "caltech-101" in names
    assert find("caltech101", tmp_path / "data").classes == 3
    shutil.rmtree(tmp_path / "data")

    sums["published"] = "0" * 32
    assert "checksum" in refused("caltech101", tmp_path / "data")


def test_a_wrong_checksum_leaves_nothing(cifar10, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "tgz_md5", "0" * 32)
    message = refused("cifar10", tmp_path / "data/cifar")
    assert "the checksum of what was sent differs from the published one" in message
    assert "by hand from https://www.cs.toronto.edu" in message
    assert not (tmp_path / "data").exists()


def test_an_archive_that_is_cut_off_leaves_nothing(cifar10, tmp_path, published):
    archive = published / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:5000])
    assert "checksum" in refused("cifar10", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_an_address_that_holds_nothing_is_told(cifar10, tmp_path, published):
    (published / "cifar-10-python.tar.gz").unlink()
    message = refused("cifar10", tmp_path / "data")
    assert "cifar-10-python.tar.gz answers 404" in message
    assert not (tmp_path / "data").exists()


def test_a_server_that_is_gone_is_told(cifar10, tmp_path, server):
    server.shutdown()
    server.server_close()
    message = refused("cifar10", tmp_path / "data")
    assert "the server is not reached" in message
    assert "refused" in message
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_told(cifar10, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refused("cifar10", tmp_path / "file/data")


def test_a_damaged_copy_is_not_replaced(cifar10, tmp_path):
    folder = tmp_path / "data/cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "test_batch").write_text("junk")
    assert "is there already but not in order" in refused("cifar10", tmp_path / "data")
    assert "is there already but not in order" in refused("cifar10", folder)
    assert (folder / "test_batch").read_text() == "junk"


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
from torchvision.datasets import CIFAR10
from mlfd_tune.cli import main
CIFAR10.url = sys.argv.pop()
sys.exit(main())
"""


def test_an_interrupted_download_leaves_nothing(cifar10, tmp_path, published):
    begun, ended = threading.Event(), threading.Event()

    class Stalling(SimpleHTTPRequestHandler):
        """Sends some bytes of a file and then no more."""

        def copyfile(self, source, outputfile) -> None:
            outputfile.write(source.read(1000))
            outputfile.flush()
            if self.headers.get("Method") is None:  # the first request only asks where it is
                begun.set()
                ended.wait(60)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    stalling = Server(published, Stalling)
    folder = tmp_path / "data/cifar"
    asked = ["data", "prepare", "cifar10", str(folder), "--download"]
    address = f"{stalling.address}/cifar-10-python.tar.gz"
    running = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *asked, address],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
    )
    try:
        assert begun.wait(60)
        assert list(folder.glob(".mlfd-tune-download-*"))
        os.kill(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        ended.set()
        running.kill()
        stalling.shutdown()
        stalling.server_close()
    assert running.returncode not in (0, 2), said
    assert not (tmp_path / "data").exists()


def test_other_datasets_are_taken_by_hand(tmp_path):
    for source in ("tinyimagenet", "imagenet_sketch", "cub200"):
        assert not can_download(source)
        assert "only by hand" in refused(source, tmp_path)
        assert "--download" not in instructions(source, tmp_path)


@pytest.mark.parametrize("source", list(published_sources()))
def test_the_instructions_name_the_address_and_the_files(source, tmp_path):
    official = published_sources()[source]
    told = instructions(source, tmp_path)
    assert official.home in told
    assert str(tmp_path) in told
    for line in official.layout.strip().splitlines():
        assert line in told


def test_an_unknown_dataset_suggests_the_nearest(tmp_path):
    for call in (find, download, instructions):
        with pytest.raises(UserError, match="did you mean 'cifar100'"):
            call("cifar1000", tmp_path)


def test_every_archive_has_a_checksum():
    kinds = (datasets.CIFAR10, datasets.CIFAR100)
    sums = [value for kind in kinds for value in (kind.tgz_md5, kind.meta["md5"])]
    sums += [value for kind in kinds for _, value in (*kind.train_list, *kind.test_list)]
    sums += [value for _, value in datasets.Flowers102._file_dict.values()]
    sums += [value for _, value in datasets.OxfordIIITPet._RESOURCES]
    assert all(len(bytes.fromhex(value)) == 16 for value in sums)

"""What hostile input did once, each told in a line now."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from safetensors.torch import save_file

from mlfd_tune.config import load_experiment
from mlfd_tune.core.data import DatasetSpec, check_dataset
from mlfd_tune.core.data.published.byte_pickle import read_pickle
from mlfd_tune.core.data.published.matlab import MOST_BYTES, read_variables
from mlfd_tune.core.data.registry import dataset_identity, load_dataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.models.checkpoints import load_checkpoint
from mlfd_tune.core.stages.weights import resolve_weights
from mlfd_tune.tracking.export_reading import read_bundles
from mlfd_tune.tracking.expressions import MISSING, parse_filter
from tests.helpers.fuzzing import attempt

SWEEP: dict[str, Any] = {
    "kind": "sweep",
    "datasets": {"one": {"source": "digits"}, "two": {"source": "letters"}},
    "teacher": {"arch": "test_resnet"},
    "student": {"arch": "test_vit"},
    "search": {"trials": 2, "space": {"distillation.alpha": {"float": [0.1, 2.0]}}},
}


def told(call: Callable[[], object], watched: Path | None = None) -> str:
    """Return the error's text: soon, each problem a line, and with nothing written."""
    error = attempt(call, watched)
    assert error is not None, "nothing was wrong"
    return "\n".join(error.problems)


def bomb(references: str) -> str:
    """Return YAML in which each of 30 lines refers nine times to the one before."""
    lines = ["a0: &a0 {x: 1}"]
    for number in range(1, 30):
        aliases = ", ".join([references.format(number - 1)] * 9)
        lines.append(f"a{number}: &a{number} [{aliases}]")
    return "\n".join(lines)


EXPERIMENTS = {
    "a thousand levels": ("x: " + "[" * 1000, "more than 50 levels"),
    "mappings of mappings": ("{a: " * 400, "more than 50 levels"),
    "aliases of aliases": (bomb("*a{}"), "aliases written out"),
    "merged aliases": (bomb("{{<<: *a{}}}"), "aliases written out"),
    "levels by aliases": (
        "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 20 + "*a" + "]" * 20,
        "more than 50 levels",
    ),
    "a list in itself": ("a: &a [*a]", "an alias refers to a mapping that it stands in"),
    "a number nobody can print": ("seed: 0x" + "f" * 5000, "a whole number of more than 100"),
    "a number that is no float": ("seed: 1" + "0" * 400, "a whole number of more than 100"),
    "a NUL": ('name: "a\\0b"', "a text holds a NUL character"),
    "half a character": ('name: "\\ud800"', "a lone surrogate"),
    "a key without an end": (f"{'k' * 900}: 1", "a key of 900 characters"),
    "a large file": ("#" + "x" * 1_000_001, "is larger than 1,000,000 bytes"),
    "an object": ("x: !!python/object/apply:os.system [id]", "could not determine a constructor"),
    "a tag that lies": ("x: !!int ''", "not valid YAML"),
    "no UTF-8": ("x: \udcff", "is not a text file in UTF-8"),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_files(tmp_path: Path, name: str) -> None:
    text, said = EXPERIMENTS[name]
    path = tmp_path / "exp.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    problem = told(lambda: load_experiment(path), tmp_path)
    assert problem.startswith(str(path))
    assert said in problem


def sweep_with(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "exp.yaml"
    path.write_text(yaml.safe_dump({**SWEEP, **changes}))
    return path


def test_files_that_include_one_another_twice_are_not_read_a_billion_times(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.yaml").write_text(f"include: [{number + 1}.yaml, {number + 1}.yaml]")
    (tmp_path / "30.yaml").write_text("seed: 1")
    problem = told(lambda: load_experiment(tmp_path / "0.yaml"), tmp_path)
    assert "more than 200 files are included" in problem


def test_files_that_include_one_another_ever_deeper_are_refused(tmp_path: Path) -> None:
    for number in range(8):
        inner = "{include: " + f"{number + 1}.yaml" + "}"
        for _ in range(9):
            inner = "{a: " + inner + "}"
        (tmp_path / f"{number}.yaml").write_text(f"a: {inner}")
    (tmp_path / "8.yaml").write_text("seed: 1")
    problem = told(lambda: load_experiment(tmp_path / "0.yaml"), tmp_path)
    assert "levels of keys (allowed: up to 50)" in problem


def test_a_chain_of_bases_ends(tmp_path: Path) -> None:
    for number in range(30):
        design = {"base": f"{number + 1}.yaml", "factors": {"distillation.alpha": [0.1, 0.2]}}
        (tmp_path / f"{number}.yaml").write_text(
            yaml.safe_dump({"kind": "ablation", "design": design})
        )
    problem = told(lambda: load_experiment(tmp_path / "0.yaml"), tmp_path)
    assert "more than 20 files are built around one another" in problem


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_an_include_that_is_no_file_is_never_opened(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "odd.yaml")
    path = sweep_with(tmp_path, include="odd.yaml")
    problem = told(lambda: load_experiment(path), tmp_path)
    assert problem.startswith(f"{path}: include: {tmp_path / 'odd.yaml'} ")
    assert "is a named pipe" in problem or "Too many levels of symbolic links" in problem


def test_a_home_of_nobody_is_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    nobody = {"source": "folder", "path": "~nobody-of-this-name/x"}
    loaded = load_experiment(sweep_with(tmp_path, datasets={"one": nobody, "two": nobody}))
    assert "does not exist" in told(lambda: load_dataset(loaded.config.datasets["one"]))
    assert "does not exist" in told(lambda: resolve_weights("~nobody-of-this-name/x", "test_vit"))


SPACES = {
    "a range of a billion with a condition": (
        {"a.b": {"int": [0, 10**12]}, "a.c": {"float": [0, 1], "when": {"a.b": [5]}}},
        None,
    ),
    "whole numbers that no sampler can draw": (
        {"seed": {"int": [0, 2**60]}},
        "whole numbers are searched up to 9007199254740992 only",
    ),
    "a step that divides nothing": (
        {"distillation.alpha": {"float": [0.0, 1.0], "step": 5e-324}},
        "cannot be divided into steps",
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_search_spaces(tmp_path: Path, name: str) -> None:
    space, said = SPACES[name]
    path = sweep_with(tmp_path, search={"trials": 1, "space": space})
    assert (said or "a.b") in told(lambda: load_experiment(path), tmp_path)


OVERRIDES = {
    "keys that are no text": ("datasets={1: {source: digits}, one: {source: digits}}", "targets"),
    "a thousand parts": (".".join("a" * 1000) + "=1", "1000 parts"),
    "a cycle": ("teacher=&a {x: *a}", "an alias refers to a mapping that it stands in"),
    "a line break": ("search.trials=[\n", "--set search.trials=[\\n, line 2: not valid YAML"),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_set(tmp_path: Path, name: str) -> None:
    text, said = OVERRIDES[name]
    path = sweep_with(tmp_path, targets=["nowhere"])
    assert said in told(lambda: load_experiment(path, [text]), tmp_path)


FILTERS = {
    "a number that is no float": ("val/acc1 > 1" + "0" * 400, "is too large a number"),
    "levels that depend on who calls": ("not " * 300 + "val/acc1 > 1", "more than 100 levels"),
    "a book": ("val/acc1 > 1 and " * 1000, "characters (allowed: up to 4,000)"),
    "an argument that is no text": ("name == '\udcff'", "is not text in UTF-8"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters(name: str) -> None:
    text, said = FILTERS[name]
    columns: dict[str, Any] = {"val/acc1": "number", "name": "text"}
    assert said in told(lambda: parse_filter(text, columns, ()).matches(lambda _: MISSING))


def tuples(count: int) -> bytes:
    """Return a pickle of a mapping whose key is a tuple in a tuple and so on."""
    return b"\x80\x02}" + b")" + b"\x85" * count + b"K\x01s."


PICKLES = {
    "room for billions": (
        b"\x80\x02]r\xff\xff\xff\x7f.",
        "asks for room for 2,147,483,647 objects",
    ),
    "a hash without a bottom": (tuples(200_000), "more than 100 tuples"),
    "a memory of itself": (
        b"\x80\x02}" + b"".join(b")q%c\x85" % (number % 250) for number in range(9)) + b"0" * 40,
        "takes more than it has",
    ),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles(tmp_path: Path, name: str) -> None:
    content, said = PICKLES[name]
    (tmp_path / "a").write_bytes(content)
    assert said in told(lambda: read_pickle(tmp_path / "a", "the file"), tmp_path)


def test_what_honest_pickles_hold_is_read(tmp_path: Path) -> None:
    content = {"a": [1, (2, (3, ()))], (1, 2): {"b": frozenset({4})}, "c": ["x"] * 3000}
    for protocol in range(5):
        (tmp_path / "a").write_bytes(pickle.dumps(content["a"], protocol))
        assert read_pickle(tmp_path / "a", "the file") == content["a"]


def matlab(array: bytes) -> bytes:
    packed = zlib.compress(array, 9)
    return bytes(126) + b"IM" + struct.pack("<II", 15, len(packed)) + packed


def test_matlab_files_that_inflate_without_end_or_lie_about_their_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(matlab(bytes(100_000_000)))
    with pytest.raises(ValueError, match=f"inflates to more than {MOST_BYTES:,} bytes"):
        read_variables(path, ("labels",))
    flags = struct.pack("<IIII", 6, 8, 9, 0)
    for shape, size in (((1, 2**30), 4), ((-1, -4), 4), ((1, 4), 2**31 - 1)):
        body = (
            flags + struct.pack("<IIii", 5, 8, *shape) + struct.pack("<II", 1 | 1 << 16, ord("a"))
        )
        body += struct.pack("<II", 2, size) + bytes(8)
        path.write_bytes(matlab(struct.pack("<II", 14, len(body)) + body))
        with pytest.raises(ValueError, match=r"it is cut short|an array of shape"):
            read_variables(path, ("a",))


def saved(folder: Path, table: pa.Table) -> DatasetSpec:
    """Write a table as `save_to_disk` does, and return the dataset."""
    (folder / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    with pa.ipc.new_stream(str(folder / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    return DatasetSpec(source="huggingface", path=str(folder))


def labelled(names: Any, values: Any, kind: pa.DataType) -> pa.Table:
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": names},
    }
    table = pa.table(
        {
            "image": pa.array([b"x"] * len(values), pa.binary()),
            "label": pa.array(values, kind),
        }
    )
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


TABLES = {
    "labels that are lists": (labelled(["a", "b"], [[0], [1]], pa.list_(pa.int64())), "no column"),
    "names that are a number": (labelled(7, [0, 1], pa.int64()), "names of classes that are no"),
    "names that steer a terminal": (labelled(["a\x1b[2J", "b"], [0, 1], pa.int64()), "no text"),
    "features that are none": (
        labelled([], [0, 1], pa.int64()).replace_schema_metadata({"huggingface": "[" * 100_000}),
        "no column of named classes",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path: Path, name: str) -> None:
    table, said = TABLES[name]
    spec = saved(tmp_path, table)
    assert said in told(lambda: load_dataset(spec), tmp_path)


def test_offsets_that_lead_out_of_an_arrow_file_are_not_followed(tmp_path: Path) -> None:
    spec = saved(tmp_path, labelled(["a", "b"], [0, 1] * 50, pa.int64()))
    content = (tmp_path / "a.arrow").read_bytes()
    offsets = b"".join(struct.pack("<i", number) for number in range(101))
    assert offsets in content
    lying = offsets[:40] + struct.pack("<i", 2**31 - 1) + offsets[44:]
    (tmp_path / "a.arrow").write_bytes(content.replace(offsets, lying))
    assert "a.arrow in dataset folder" in told(lambda: dataset_identity(spec), tmp_path)


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
def test_json_without_a_bottom(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[" * 100_000)
    spec = DatasetSpec(source="huggingface", path=str(tmp_path))
    assert "it has too many levels" in told(lambda: load_dataset(spec), tmp_path)


@pytest.mark.parametrize(
    ("source", "path", "place"),
    [
        ("huggingface", ".", "state.json"),
        ("huggingface", ".", "a.arrow"),
        ("csv", "list.csv", "list.csv"),
        ("folder", ".", "train"),
        ("folder", "train", "train"),
    ],
)
def test_pipes_in_place_of_files_are_never_opened(
    tmp_path: Path, source: str, path: str, place: str
) -> None:
    saved(tmp_path, labelled(["a", "b"], [0, 1], pa.int64()))
    (tmp_path / place).unlink(missing_ok=True)
    os.mkfifo(tmp_path / place)
    spec = DatasetSpec(source=source, path=str(tmp_path / path))
    told(lambda: dataset_identity(spec), tmp_path)
    assert check_dataset("x", spec).problems


@pytest.fixture(scope="module")
def model() -> Backbone:
    return Backbone("test_resnet", 3, 32)


def weights_of(model: Backbone) -> dict[str, Any]:
    return {name: value.clone() for name, value in model.model.state_dict().items()}


def loops() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["model"] = found
    return found


def with_one(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[Backbone], Any]:
    def changed(model: Backbone) -> Any:
        weights = weights_of(model)
        return {**weights, name: change(weights[name])}

    return changed


CHECKPOINTS: dict[str, tuple[Callable[[Backbone], Any], str]] = {
    "a mapping in itself": (lambda _: loops(), "holds no weights"),
    "a classifier that is a number": (
        with_one("fc.weight", lambda _: torch.tensor(1.0)),
        "fc.weight has shape ()",
    ),
    "weights without memory": (
        with_one("fc.weight", lambda value: value.to("meta")),
        "lacks 1 tensor of the classifier: fc.weight",
    ),
    "sparse weights": (with_one("fc.weight", lambda value: value.to_sparse()), "lacks 1 tensor"),
    "complex weights": (
        with_one("fc.weight", lambda value: value.to(torch.complex64)),
        "fc.weight (torch.complex64)",
    ),
    "whole numbers": (
        with_one("conv1.0.weight", lambda value: value.to(torch.int64)),
        "holds 1 tensor of another type than 'test_resnet' at 32 px has: conv1.0.weight",
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(tmp_path: Path, model: Backbone, name: str) -> None:
    made, said = CHECKPOINTS[name]
    before = weights_of(model)
    torch.save(made(model), tmp_path / "a.pth")
    assert said in told(lambda: load_checkpoint(model, tmp_path / "a.pth"), tmp_path)
    after = model.model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_half_precision_is_loaded_as_before(tmp_path: Path, model: Backbone) -> None:
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in weights_of(model).items()
    }
    torch.save(weights, tmp_path / "a.pth")
    assert load_checkpoint(model, tmp_path / "a.pth").tensors == len(weights)


def archive(content: bytes, kind: int, data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as file:
        file.writestr("a/data.pkl", content)
        file.writestr("a/version", b"3\n")
        file.writestr("a/data/0", data)
    return buffer.getvalue()


ARCHIVES = {
    "deflated": (archive(b"}.", zipfile.ZIP_DEFLATED, bytes(50_000_000)), "is deflated"),
    "room for billions": (archive(PICKLES["room for billions"][0], 0), "asks for room"),
    "a hash without a bottom": (archive(tuples(200_000), 0), "more than 100 tuples"),
    "an old file, too": (tuples(200_000), "more than 100 tuples"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_of_weights(tmp_path: Path, model: Backbone, name: str) -> None:
    content, said = ARCHIVES[name]
    (tmp_path / "a.pth").write_bytes(content)
    assert said in told(lambda: load_checkpoint(model, tmp_path / "a.pth"), tmp_path)


@pytest.mark.parametrize(
    "about",
    [
        {"arch": ["test_vit"], "classes": ["a"], "mean": [0], "std": [1]},
        {"arch": "test_vit", "classes": 7, "mean": [0], "std": [1]},
        "[" * 100_000,
    ],
)
def test_descriptions_that_this_program_did_not_write_say_nothing(
    tmp_path: Path, about: Any
) -> None:
    text = about if isinstance(about, str) else json.dumps(about)
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"mlfd_tune": text})
    source = resolve_weights(str(tmp_path / "a.safetensors"), "test_vit")
    assert source.description() == {}
    assert source.suits(("a", "b"))


def exported(folder: Path, **changes: Any) -> Path:
    provenance = {
        "experiment": "exp",
        "run_id": "abc",
        "tracking_uri": "sqlite:///mlflow.db",
        "versions": {},
        "data": {},
        "artifacts": {},
        "seed": 3,
        "status": "confirmed",
        "expected": {"val/acc1": 90.0},
        **changes,
    }
    config = {**SWEEP, "kind": "train", "target": "one", "provenance": provenance}
    del config["search"]
    path = folder / "one.json"
    path.write_text(json.dumps({"config": config}))
    return path


@pytest.mark.parametrize("name", ["../other.yaml", "/etc/passwd", "a/../../x"])
def test_bundles_do_not_look_outside_of_their_folder(tmp_path: Path, name: str) -> None:
    path = exported(tmp_path, files={name: "0" * 64})
    problem = told(lambda: read_bundles(path), tmp_path)
    assert repr(name) in problem
    assert "other.yaml is not the file" not in problem


def test_bundles_do_not_open_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = exported(tmp_path, files={"pipe": "0" * 64})
    assert "pipe was exported with it and is a named pipe" in told(lambda: read_bundles(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "more than 50 levels"),
        ('{"config": {"kind": "train", "name": "\\ud800"}}', "a lone surrogate"),
        ('{"config": {"kind": "train", "seed": 1' + "0" * 400 + "}}", "of more than 100 digits"),
        ('{"config": {"kind": "' + "x" * 5000 + '"}}', "is no exported configuration"),
    ],
)
def test_bundles_in_json(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(text)
    problem = told(lambda: read_bundles(path), tmp_path)
    assert said in problem
    assert len(problem) < 2000


def test_what_cannot_be_read_for_lack_of_rights_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give up its rights and take them again")
    (tmp_path / "set/train/a").mkdir(parents=True)
    (tmp_path / "set/train/b").mkdir()
    for path in ("set/train/a/0.png", "set/list.csv"):
        (tmp_path / path).write_bytes(b"x")
        (tmp_path / path).chmod(0o000)
    (tmp_path / "set/train/b").chmod(0o000)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        for source, path in (("folder", "set"), ("csv", "set/list.csv"), ("caltech101", "set")):
            spec = DatasetSpec(source=source, path=str(tmp_path / path))
            with pytest.raises(UserError):
                dataset_identity(spec)
            assert check_dataset("x", spec).problems
    finally:
        os.seteuid(0)
        (tmp_path / "set/train/b").chmod(0o700)

"""What the package's own code may not call: whatever runs what stands in a file."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import mlfd_tune
from mlfd_tune.config.reading import parse_yaml
from mlfd_tune.core.errors import UserError

PACKAGE = Path(mlfd_tune.__file__).parent
PROJECT = PACKAGE.parent

ALLOWED = {
    ("tune/stage_work.py", "cloudpickle.loads"): "bytes whose checksum came with Ray's config",
    ("core/data/published/byte_pickle.py", "pickle.Unpickler"): "its subclass finds nothing to run",
    ("core/models/checkpoints.py", "torch.serialization.safe_globals"): "argparse's bag of values",
    ("cli/serving.py", "os.execv"): "becomes this very Python, running MLflow's server",
}

NEVER = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "os.execv", "os.execl", "os.execvp", "os.spawnv", "pty.spawn"),
    *(f"{name}.{call}" for name in ("pickle", "cloudpickle", "dill", "marshal") for call in
      ("load", "loads", "Unpickler")),
    *("joblib.load", "shelve.open", "pandas.read_pickle", "pd.read_pickle", "torch.hub.load"),
    *("yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.full_load_all"),
    *("mlflow.pytorch.load_model", "mlflow.pyfunc.load_model", "mlflow.sklearn.load_model"),
    *("tempfile.mktemp", "shutil.unpack_archive", "ssl._create_unverified_context"),
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        above = dotted(node.value)
        return f"{above}.{node.attr}" if above else f".{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    """Return a keyword's value, as source where it is no constant; None where it is not given."""
    for one in call.keywords:
        if one.arg == name:
            return one.value.value if isinstance(one.value, ast.Constant) else ast.unparse(one)
    return None


def problems_of_call(call: ast.Call) -> Iterator[str]:
    name = dotted(call.func)
    if name in NEVER:
        yield name
    if name == "torch.load" and keyword(call, "weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name == "yaml.load" and keyword(call, "Loader") != "Loader=_StrictLoader":
        yield "yaml.load without the strict loader"
    if keyword(call, "allow_pickle"):
        yield "allow_pickle"
    if keyword(call, "trust_remote_code"):
        yield "trust_remote_code"
    if keyword(call, "shell"):
        yield "a shell"
    if keyword(call, "verify") is False:
        yield "a certificate that is not checked"
    if name.endswith((".extractall", ".extract")):
        yield "an archive that is unpacked"
    if name.endswith("safe_globals"):  # what weights_only would let through
        yield name


def problems_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, problem) for problem in problems_of_call(node))
        if isinstance(node, ast.ClassDef):
            yield from ((node.lineno, dotted(base)) for base in node.bases if dotted(base) in NEVER)
        if isinstance(node, ast.ImportFrom):
            # Under another name a call would not be seen.
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from ((node.lineno, f"from-import of {name}") for name in names if name in NEVER)
        if isinstance(node, ast.Import):
            watched = {name.partition(".")[0] for name in NEVER if "." in name} - {
                "pandas",
                "torch",
            }
            yield from (
                (node.lineno, f"import of {alias.name} under another name")
                for alias in node.names
                if alias.asname and alias.name in watched
            )


def found_in(folder: Path) -> set[tuple[str, str]]:
    files = sorted(folder.rglob("*.py"))
    assert files
    return {
        (file.relative_to(folder).as_posix(), problem)
        for file in files
        for _, problem in problems_of(ast.parse(file.read_text(encoding="utf-8")))
    }


def test_nothing_that_is_read_can_run_code() -> None:
    found = found_in(PACKAGE)

    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set(), "no longer there: take it off the list"


@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(data)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "yaml.load(text, Loader=yaml.Loader)",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "eval(text)",
        "tempfile.mktemp()",
        "archive.extractall(folder)",
        "from pickle import loads",
        "import pickle as p",
        "class Mine(pickle.Unpickler): pass",
        "load_dataset(name, trust_remote_code=True)",
    ],
)
def test_each_of_these_would_be_found(line: str) -> None:
    assert list(problems_of(ast.parse(line)))


@pytest.mark.parametrize("line", ["model.eval()", "torch.load(p, weights_only=True)", "np.load(p)"])
def test_what_is_harmless_is_not(line: str) -> None:
    assert not list(problems_of(ast.parse(line)))


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch planted']",
        "a: !!python/object/new:subprocess.Popen [['touch', 'planted']]",
        "!!python/name:os.system",
    ],
)
def test_yaml_makes_no_objects(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UserError, match="not valid YAML"):
        parse_yaml(text, "exp.yaml")

    assert not (tmp_path / "planted").exists()
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)


@pytest.mark.skipif(
    not shutil.which("bandit", path=str(Path(sys.executable).parent)), reason="no bandit"
)
def test_bandit_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "-q", "-r", "mlfd_tune", "-c", "pyproject.toml"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout

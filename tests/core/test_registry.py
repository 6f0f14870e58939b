"""Kinds that packages bring: real packages with real metadata, in a folder on `sys.path`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mlfd_tune.core.data import DATASETS
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import FEATURE_LOSSES, FeatureLoss
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.models import ADAPTORS
from mlfd_tune.core.models.adaptors import Adaptor, IdentityAdaptor, LinearAdaptor
from mlfd_tune.core.registry import Registry

GATED = """
from mlfd_tune.core.models.adaptors import LinearAdaptor
class Gated(LinearAdaptor): pass
gated = Gated(1, 1, spatial=True)
def make(): return Gated
"""
Install = Callable[..., None]


def adaptors() -> Registry[type[Adaptor]]:
    """Return a registry that has not looked for packages yet, with two built-in kinds."""
    registry: Registry[type[Adaptor]] = Registry(
        "adaptor",
        "mlfd_tune.adaptors",
        lambda kind: isinstance(kind, type) and issubclass(kind, Adaptor),
    )
    registry.register("linear")(LinearAdaptor)
    registry.register("identity")(IdentityAdaptor)
    return registry


def losses() -> Registry[type[FeatureLoss]]:
    return Registry(
        "feature loss",
        "mlfd_tune.losses",
        lambda kind: isinstance(kind, type) and issubclass(kind, FeatureLoss),
    )


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Yield a function that installs a package of one module."""

    def write(
        kinds: Mapping[str, str],
        code: str = GATED,
        *,
        module: str = "kinds_of_a",
        name: str = "a",
        version: str | None = "1.0",
        group: str = "mlfd_tune.adaptors",
    ) -> None:
        (tmp_path / f"{module}.py").write_text(code)
        about = tmp_path / f"{name}-{version}.dist-info"
        about.mkdir()
        if version is not None:
            (about / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
        lines = [f"{kind} = {module}:{value}" for kind, value in kinds.items()]
        (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
        monkeypatch.syspath_prepend(tmp_path)

    yield write
    for imported, module in list(sys.modules.items()):
        if str(tmp_path) in (getattr(module, "__file__", None) or ""):
            del sys.modules[imported]


def told(registry: Registry[type], name: object) -> UserError:
    """Return what a person is told who asks for a kind: one line."""
    with pytest.raises(UserError) as raised:
        registry.require(name)
    assert len(raised.value.problems) == 1
    assert "\n" not in str(raised.value)
    return raised.value


def test_a_kind_of_a_package_is_there_by_its_name(install: Install) -> None:
    install({"gated": "Gated"})
    registry = adaptors()
    kind = registry.require("gated")
    assert kind.__name__ == "Gated"
    assert issubclass(kind, Adaptor)
    assert registry["gated"] is kind
    assert registry.get("gated") is kind


def test_names_are_known_without_importing_the_package(install: Install) -> None:
    install({"gated": "Gated"})
    registry = adaptors()
    assert list(registry) == ["linear", "identity", "gated"]
    assert len(registry) == 3
    assert "gated" in registry
    assert registry.origin("gated") == "a 1.0"
    told(registry, "gatd")
    assert "kinds_of_a" not in sys.modules
    assert registry["gated"].__module__ == "kinds_of_a"


def test_entry_points_of_other_groups_are_no_kinds(install: Install) -> None:
    install({"gated": "Gated"}, group="mlfd_tune.losses")
    assert list(adaptors()) == ["linear", "identity"]


@pytest.mark.parametrize(
    ("registry", "group"),
    [
        (ADAPTORS, "mlfd_tune.adaptors"),
        (FEATURE_LOSSES, "mlfd_tune.losses"),
        (METHODS, "mlfd_tune.methods"),
        (DATASETS, "mlfd_tune.datasets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_concept_has_its_own_group(registry: Registry[type], group: str) -> None:
    assert registry.group == group


def test_unknown_names_are_told_with_what_there_is_and_the_nearest(install: Install) -> None:
    install({"gated": "Gated"})
    registry = adaptors()
    assert str(told(registry, "gatd")) == (
        "unknown adaptor 'gatd' (allowed: gated, identity, linear; did you mean 'gated'?)"
    )
    assert str(told(registry, 3)) == "an adaptor is a name, not 3"
    assert str(told(losses(), ["l1"])) == "a feature loss is a name, not ['l1']"
    with pytest.raises(KeyError):
        registry["gatd"]
    assert registry.get("gatd") is None
    assert registry.origin("gatd") is None


@pytest.mark.parametrize("module", ["kinds_of_a", "kinds_of_b"])
def test_a_name_that_two_packages_have_is_refused_wherever_it_is_used(
    install: Install, module: str
) -> None:
    install({"gated": "Gated", "only_a": "Gated"})
    install({"gated": "Gated", "only_b": "Gated"}, name="b", version="2.0", module=module)
    registry = adaptors()
    assert str(told(registry, "gated")) == (
        "adaptor 'gated' has more than one entry point: "
        f"a 1.0 (kinds_of_a:Gated), b 2.0 ({module}:Gated); remove all but one"
    )
    with pytest.raises(UserError, match="more than one entry point"):
        registry.origin("gated")
    assert sorted(registry) == ["gated", "identity", "linear", "only_a", "only_b"]
    assert (registry.origin("only_a"), registry.origin("only_b")) == ("a 1.0", "b 2.0")
    assert registry.require("only_a").__name__ == "Gated"


def test_a_package_cannot_take_the_name_of_a_built_in_kind(install: Install) -> None:
    install({"linear": "Gated", "gated": "Gated"})
    registry = adaptors()
    # What is built in must stay in reach: it is a default that is looked up on import.
    assert registry.require("linear") is LinearAdaptor
    with pytest.raises(UserError) as raised:  # and this is asked before anything is computed
        registry.origin("linear")
    assert str(raised.value) == (
        "adaptor 'linear' of package a 1.0: there is a built-in one of this name; "
        "give it another name there"
    )
    assert list(registry) == ["linear", "identity", "gated"]
    assert len(registry) == 3
    assert registry.origin("identity") is None
    assert registry.origin("gated") == "a 1.0"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no gate\\nand no fence')", "RuntimeError: no gate"),
        ("raise ValueError", "ValueError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import kinds_that_are_not_there", "No module named 'kinds_that_are_not_there'"),
        ("class Gated(", "SyntaxError"),
        ("class Gate: pass", "has no attribute 'Gated'"),
    ],
    ids=["raises", "without_a_word", "exits", "misses_a_module", "syntax", "misses_the_class"],
)
def test_a_package_that_cannot_be_imported_is_told_in_one_line(
    install: Install, code: str, reason: str
) -> None:
    install({"gated": "Gated"}, code)
    error = told(adaptors(), "gated")
    assert str(error).startswith(
        "adaptor 'gated' of package a 1.0: kinds_of_a:Gated cannot be imported ("
    )
    assert reason in str(error)
    assert "fence" not in str(error)
    assert error.__cause__ is not None  # for whoever wrote the package


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("make", "a function"),
        ("gated", "a Gated"),
        ("nn", "a module"),
        ("Loss", "class Loss(FeatureLoss)"),
    ],
)
def test_an_entry_point_must_name_a_class_of_the_right_base(
    install: Install, value: str, found: str
) -> None:
    code = "from mlfd_tune.core.losses import FeatureLoss\nclass Loss(FeatureLoss): pass\n"
    install({"gated": value}, f"{GATED}\n{code}from torch import nn")
    line = str(told(adaptors(), "gated"))
    where = "adaptor 'gated' of package a 1.0"
    assert line == f"{where}: kinds_of_a:{value} is {found}, not an adaptor class"


@pytest.mark.parametrize(
    ("body", "lacking"),
    [
        ("pass", "compares, compute"),
        ("compares = 'elements'", "compute"),
        ("def compute(self, student, target): return student.mean()", "compares"),
    ],
)
def test_a_kind_must_define_what_its_base_leaves_to_it(
    install: Install, body: str, lacking: str
) -> None:
    code = f"from mlfd_tune.core.losses import FeatureLoss\nclass L1(FeatureLoss):\n    {body}"
    install({"l1": "L1"}, code, group="mlfd_tune.losses")
    assert str(told(losses(), "l1")) == (
        f"feature loss 'l1' of package a 1.0: kinds_of_a:L1 does not define {lacking}"
    )


def test_a_broken_package_disturbs_no_other_kind(install: Install) -> None:
    install({"gated": "Gated"}, "raise RuntimeError")
    install({"plain": "Gated"}, name="b", module="kinds_of_b")
    registry = adaptors()
    told(registry, "gated")
    assert registry.require("linear") is LinearAdaptor
    assert registry.require("plain").__module__ == "kinds_of_b"
    assert set(registry) == {"linear", "identity", "gated", "plain"}
    assert registry.origin("linear") is None


def test_the_origin_is_the_package_with_its_version(install: Install) -> None:
    install({"gated": "Gated"}, name="My.Kinds", version="2.0rc1")
    registry = adaptors()
    assert registry.origin("gated") == "My.Kinds 2.0rc1"
    assert registry.origin("linear") is None


def test_a_package_without_a_version_has_no_identity(install: Install) -> None:
    install({"gated": "Gated"}, version=None)
    registry = adaptors()
    assert "has no metadata with its name and version" in str(told(registry, "gated"))
    with pytest.raises(UserError, match="install it again"):
        registry.origin("gated")
    assert registry.require("linear") is LinearAdaptor


def test_the_decorator_is_for_built_in_kinds_alone(install: Install) -> None:
    code = "from mlfd_tune.core.models.adaptors import LinearAdaptor, register\n"
    code += "@register('sneaky')\nclass Gated(LinearAdaptor): pass"
    install({"gated": "Gated"}, code)
    line = str(told(adaptors(), "gated"))
    assert "comes from another package" in line
    assert "entry point of the group 'mlfd_tune.adaptors'" in line
    assert "sneaky" not in ADAPTORS


def test_two_built_in_kinds_cannot_have_one_name() -> None:
    registry = adaptors()
    with pytest.raises(ValueError, match="two built-in kinds of adaptor 'linear'"):
        registry.register("linear")(IdentityAdaptor)
    assert registry["linear"] is LinearAdaptor

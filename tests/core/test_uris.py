"""What is shown and kept of a URI: its login never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.uris import (
    basic_login,
    hide_logins,
    is_loopback,
    shown_uri,
    without_login,
    without_logins,
)

SECRET = "c4n4ry"

WITH_LOGIN = {
    f"postgresql://me:{SECRET}@host:5432/db": "postgresql://me@host:5432/db",
    f"postgresql+psycopg2://me:{SECRET}@/db?host=/run": "postgresql+psycopg2://me@/db?host=/run",
    f"postgresql://host/db?sslmode=require&password={SECRET}": "postgresql://host/db?sslmode=require",
    f"postgresql://host/db?sslpassword={SECRET}": "postgresql://host/db",
    f"postgresql://me:p@{SECRET}/{SECRET}@host/db": "postgresql://me@host/db",
    f"mysql+pymysql://me:{SECRET}@host/db?charset=utf8": "mysql+pymysql://me@host/db?charset=utf8",
    f"mssql+pyodbc://?odbc_connect=PWD={SECRET}": "mssql+pyodbc://",
    f"http://me:{SECRET}@host:5000/path": "http://host:5000/path",
    f"https://{SECRET}@host": "https://host",
    f"https://host:5000/?token={SECRET}": "https://host:5000/",
    f"https://host:5000/?anything={SECRET}": "https://host:5000/",
    f"https://host?{SECRET}": "https://host",
    f"https://host/#{SECRET}": "https://host/",
    f"http://me:{SECRET}/{SECRET}@host:1": "http://host:1",
    f"http://me:{SECRET}?{SECRET}@host": "http://host",
    f"http://me:{SECRET}#{SECRET}@host": "http://host",
    f"http://me:{SECRET}@[::1]:5000/": "http://[::1]:5000/",
    f"s3://KEY:{SECRET}@bucket/path": "s3://bucket/path",
    f"ray://me:{SECRET}@host:10001": "ray://host:10001",
    f"mlflow-artifacts://me:{SECRET}@host/path": "mlflow-artifacts://host/path",
}  # fmt: skip

WITHOUT = (
    "sqlite:///mlflow.db",
    "sqlite:////home/me@work/a#1.db?timeout=5&mode=ro",
    "postgresql://host:5432/db",
    "postgresql://me@host/db?sslmode=require",
    "http://host:5000/a@b",
    "http://[::1]:5000/",
    "models:/name@champion",
    "models:/name/3/best.pth",
    "runs:/0123/teacher@1.pth",
    "./a folder/of:mine@home",
    "mlruns",
    "auto",
)


@pytest.mark.parametrize(("uri", "kept"), WITH_LOGIN.items())
def test_a_login_is_neither_shown_nor_kept(uri: str, kept: str) -> None:
    assert without_login(uri) == kept
    assert SECRET not in shown_uri(uri)
    assert "***" in shown_uri(uri)
    assert SECRET not in hide_logins(f"cannot open '{uri}': refused")


@pytest.mark.parametrize("uri", WITHOUT)
def test_a_uri_without_a_login_stays_as_it_is(uri: str) -> None:
    assert shown_uri(uri) == uri
    assert without_login(uri) == uri


@pytest.mark.parametrize(
    "text", [f"me:{SECRET}@host", f"postgresql:me:{SECRET}@h/d", f"http:/me:{SECRET}@h"]
)
def test_what_is_almost_a_uri_does_not_tell_its_login_either(text: str) -> None:
    assert SECRET not in shown_uri(text)


@given(
    scheme=st.sampled_from(["postgresql", "mysql+pymysql", "http", "https", "ray", "s3"]),
    password=st.text("abcXYZ019!$%&'()*+,-.:;=@[]_`{|}~^ ", min_size=1, max_size=12),
    tail=st.sampled_from(["", ":5000", ":5432/db", "/a/b"]),
)
def test_no_password_gets_through(scheme: str, password: str, tail: str) -> None:
    uri = f"{scheme}://me:{SECRET}{password}{SECRET}@host{tail}"

    assert SECRET not in shown_uri(uri)
    assert SECRET not in without_login(uri)
    assert without_login(uri).endswith(f"host{tail}")


@given(st.text(max_size=60))
def test_any_text_is_taken(text: str) -> None:
    shown_uri(text)
    assert without_login(without_login(text)) == without_login(text)
    assert hide_logins(hide_logins(text)) == hide_logins(text)


def test_the_kept_uri_of_a_database_is_the_same_database() -> None:
    url = make_url(without_login(f"postgresql+psycopg2://me:{SECRET}@host:5432/db?sslmode=require"))

    assert (url.username, url.password, url.host, url.port, url.database) == (
        ("me", None, "host", 5432, "db")
    )
    assert url.query == {"sslmode": "require"}


def test_nested_settings_lose_their_logins_wherever_they_stand() -> None:
    uri = f"http://me:{SECRET}@host"
    raw = {"tracking": {"uri": uri}, "list": [uri, 3, None], "name": "me:x@y"}

    assert without_logins(raw) == {
        "tracking": {"uri": "http://host"},
        "list": ["http://host", 3, None],
        "name": "me:x@y",
    }
    assert raw["tracking"] == {"uri": uri}


def test_an_error_for_people_hides_logins_and_writes_out_control_characters() -> None:
    error = UserError(
        f"--set tracking.uri=http://me:{SECRET}@host: no", "a\x1b[31m\nb: password=x1"
    )

    assert error.problems == (
        "--set tracking.uri=http://***@host: no",
        "a\\x1b[31m\\nb: password=***",
    )
    assert SECRET not in str(error)


def test_a_login_becomes_the_header_that_http_knows() -> None:
    address, header = basic_login("http://me:p%40ss@host:5000/path?x=1")

    assert address == "http://host:5000/path?x=1"
    assert header == {"Authorization": "Basic bWU6cEBzcw=="}
    assert basic_login("http://host") == ("http://host", {})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("myhost", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback_is_told_from_what_others_reach(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected

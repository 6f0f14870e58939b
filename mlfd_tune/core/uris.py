"""Logins in URIs: what may be shown of a URI, and what may be kept of it.

A tracking URI may hold a password, be it before the host or in the query. Messages show three
asterisks in its place. Files that others may read get the URI without it, which still works where
the login is given in another way.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

__all__ = [
    "basic_login",
    "hide_logins",
    "is_loopback",
    "shown_uri",
    "without_login",
    "without_logins",
]

_HIDDEN: Final = "***"
_DATABASES: Final = ("sqlite", "postgres", "postgresql", "mysql", "mariadb", "mssql")

# Any other parameter may be a secret: who knows what a proxy in front of a server asks for.
# fmt: off
_HARMLESS: Final = frozenset({
    # SQLite
    "mode", "cache", "uri", "timeout", "check_same_thread", "vfs", "nolock", "immutable",
    "isolation_level", "detect_types",
    # PostgreSQL
    "host", "port", "hostaddr", "dbname", "user", "connect_timeout", "client_encoding",
    "options", "application_name", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl",
    "sslcompression", "sslsni", "channel_binding", "gssencmode", "keepalives",
    "keepalives_idle", "keepalives_interval", "keepalives_count", "passfile", "service",
    "target_session_attrs", "tcp_user_timeout",
    # MySQL
    "charset", "unix_socket", "read_default_file", "read_default_group", "ssl_ca", "ssl_cert",
    "ssl_key", "ssl_check_hostname", "autocommit",
    # SQL Server
    "driver", "encrypt", "trustservercertificate", "trusted_connection",
})
# fmt: on

_FORM: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(:/*)(.*)", re.DOTALL)
_NEARLY: Final = re.compile(r"^([^\s/@]*:(?!/)|\w+:/+[^\s@]*:)[^\s@]*@")  # not models:/name@alias
_IN_TEXT: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_CLOSING: Final = "'\"`)]}>,.;:"  # at the end of a URI in a sentence, these belong to the sentence
_SETTING: Final = re.compile(r"(?i)\b(password|passwd|pwd|secret|token|api_?key)=[^\s&;,'\"]+")


def shown_uri(uri: str) -> str:
    """Return `uri` with asterisks for its login, fit for messages."""
    parts = _parts(uri)
    if parts is None:  # not the form of a URI, but maybe meant as one
        return _NEARLY.sub(f"{_HIDDEN}@", uri)
    return parts.joined(lambda user: f"{user}:{_HIDDEN}" if user else _HIDDEN, _HIDDEN)


def without_login(uri: str) -> str:
    """Return `uri` without its login, fit to be kept in files; the name of a database's user stays.

    Parameters that are not known to be harmless are left out with it.
    """
    parts = _parts(uri)
    return uri if parts is None else parts.joined(lambda user: user, None)


def without_logins(node: Any) -> Any:
    """Return nested mappings and lists with `without_login` of every text in them."""
    if isinstance(node, str):
        return without_login(node) if "://" in node else node
    if isinstance(node, Mapping):
        return {key: without_logins(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_logins(value) for value in node]
    return node


def hide_logins(text: str) -> str:
    """Return `text` with asterisks for the logins of all URIs in it, as libraries' errors have."""
    if "://" in text:
        text = _IN_TEXT.sub(_shown_in_sentence, text)
    return _SETTING.sub(rf"\1={_HIDDEN}", text) if "=" in text else text


def basic_login(uri: str) -> tuple[str, dict[str, str]]:
    """Return an HTTP address without its login, and the header that logs in with it."""
    parts = _parts(uri)
    if parts is None or not parts.login:
        return uri, {}
    user, _, password = parts.login.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    address = f"{parts.scheme}{parts.slashes}{parts.rest}{parts.query}{parts.fragment}"
    return address, {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens at this address."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # another name: it may be reached from elsewhere
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@dataclass(frozen=True)
class _Parts:
    """A URI taken apart.

    Attributes:
        scheme: What it begins with.
        slashes: The colon and the slashes after it.
        login: What stands before the last ``@``; empty without one.
        rest: Host, port and path.
        query: With its question mark.
        fragment: With its number sign.
    """

    scheme: str
    slashes: str
    login: str
    rest: str
    query: str
    fragment: str

    @property
    def is_database(self) -> bool:
        """Whether SQLAlchemy reads it."""
        return self.scheme.lower().partition("+")[0] in _DATABASES

    def joined(self, login: Callable[[str], str], hidden: str | None) -> str:
        """Return the URI with other secrets.

        Args:
            login: What stands for a login; called with the user's name where that may be told.
            hidden: What stands for other secrets; None leaves them out.
        """
        user, colon, _ = self.login.partition(":")
        if self.is_database and not colon:
            before = user
        else:
            before = login(user if self.is_database else "") if self.login else ""
        query = "&".join(
            shown for one in self.query[1:].split("&") if (shown := _parameter(one, hidden))
        )
        fragment = f"#{hidden}" if self.fragment and hidden else ""
        at = f"{before}@" if before else ""
        rest = f"{self.rest}?{query}" if query else self.rest
        return f"{self.scheme}{self.slashes}{at}{rest}{fragment}"


def _parameter(text: str, hidden: str | None) -> str:
    name, equals, value = text.partition("=")
    if not text or (equals and name.lower() in _HARMLESS and ";" not in value):
        return text
    if hidden is None:
        return ""
    return f"{name}={hidden}" if equals else hidden


def _parts(uri: str) -> _Parts | None:
    """Take a URI apart; None for a text that has not the form of one with a host."""
    match = _FORM.fullmatch(uri)
    if match is None or len(match[2]) < 3:
        return None
    scheme, slashes, rest = match.groups()
    is_database = scheme.lower().partition("+")[0] in _DATABASES
    end = _end_of_login(rest, is_database=is_database)
    if len(slashes) > 3 and (scheme.lower().startswith("sqlite") or ":" not in rest[:end]):
        end = 0  # a path, in which @ is a character as any other
    login, rest = rest[: max(0, end - 1)], rest[end:]
    # SQLAlchemy knows no fragments.
    rest, sign, fragment = (rest, "", "") if is_database else rest.partition("#")
    rest, mark, query = rest.partition("?")
    return _Parts(scheme, slashes, login, rest, mark + query, sign + fragment)


def _end_of_login(rest: str, *, is_database: bool) -> int:
    """Return where the host begins; 0 where there is no login.

    Passwords are often written as they are, with characters that would have to be quoted.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    port = authority.rpartition(":")[2] if ":" in authority else "0"
    if is_database and ":" in authority:
        return rest.rfind("@") + 1
    if "@" in authority:
        return authority.rfind("@") + 1
    return 0 if port.isdigit() or not port else rest.rfind("@") + 1


def _shown_in_sentence(match: re.Match[str]) -> str:
    uri = match[0].rstrip(_CLOSING)
    return shown_uri(uri) + match[0][len(uri) :]

"""Passwords, tokens and keys inside a text, replaced before anybody shows or stores it; and the names that such things go by.

A secret does not belong into an address, a reference or a header that a file names, and is refused there. The message that
refuses it would be the first to print it, and so would every other error about the same reference. So the base of all errors
(`latentbench.kernel.errors`) passes its text through here. To look for the environment's own secrets is the tempting way, and
misses every one that stands in a file alone.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"


def _coded(sign: str) -> str:
    """A pattern for a sign, plain or percent-encoded, as often as references were put into each other."""
    return f"(?:{re.escape(sign)}|%(?:25)*{ord(sign):02x})"


_AT, _IS, _SLASH, _COLON = (_coded(sign) for sign in "@=/:")
_BEGINS = "(?:" + "|".join(_coded(sign) for sign in "?&;") + ")"
_ENDS = "|".join(_coded(sign) for sign in "&#;")
USER = re.compile(rf"({_COLON}{_SLASH}{_SLASH})(?:(?!{_SLASH})[^?#\s])*{_AT}", re.IGNORECASE)
"""A user name, with or without a password, in front of a host."""
_NAMES = "api[_-]?key|passw(?:or)?d|pwd|secret|token|auth|authorization|signature|sig|credentials?"
NAMED = re.compile(rf"({_BEGINS}(?:key|[\w.-]*?(?:{_NAMES})){_IS})(?:(?!{_ENDS})[^\s'\"])+", re.IGNORECASE)
"""A value in a query whose name says what it is."""
SAID = re.compile(r"\b(bearer|basic)((?:\s|%20|\+)+)(?=[\w.~+/=-]*\d)[\w.~+/=-]{12,}", re.IGNORECASE)
"""What stands in a header of authorisation."""
SHAPED = re.compile(r"(?<![\w-])(sk-|hf_|ghp_|github_pat_|AKIA|AIza|xox[bp]-)[\w-]{12,}")
"""Keys of well-known services, by how they begin."""
WORDS = frozenset(
    {
        "key",
        "token",
        "auth",
        "authorization",
        "bearer",
        "sig",
        "signature",
        "pwd",
        "passwd",
        "credential",
        "credentials",
    }
)
ENDS = ("apikey", "password", "secret", "secretkey", "accesstoken", "authtoken", "bearertoken", "clientsecret")
HEADER_ENDS = (
    "key", "token", "secret", "auth", "authorization", "cookie", "password", "session", "signature", "credential", "credentials",
)  # fmt: skip


def veiled(text: str) -> str:
    """The text with `***` in place of what looks like a secret; any other text is as it was."""
    text = USER.sub(rf"\1{HIDDEN}@", text)
    text = NAMED.sub(rf"\1{HIDDEN}", text)
    text = SAID.sub(rf"\1\2{HIDDEN}", text)
    return SHAPED.sub(rf"\1{HIDDEN}", text)


def veiled_address(text: str) -> str:
    """The text with `***` for secrets in its addresses alone; for what is shown by the thousand, where prose stays as it is."""
    if "//" not in text and "%2" not in text:
        return text
    return NAMED.sub(rf"\1{HIDDEN}", USER.sub(rf"\1{HIDDEN}@", text))


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a secret, as services name them (`api_key`, `Authorization`, `clientSecret`)."""
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    return bare in WORDS or bare.endswith(ENDS)


def is_secret_header(name: str) -> bool:
    """Whether a header of this name holds a secret; more than for fields, because numbers of tokens stand in no header."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).endswith(HEADER_ENDS)


def cleaned(value: Any, name: str = "") -> Any:
    """A parsed document with `***` for its secrets: texts that hold one, and whatever a field holds that is named after one.

    Args:
        name: of the field that has the value.
    """
    if isinstance(value, dict):
        return {key: cleaned(held, key) for key, held in value.items()}
    if isinstance(value, list):
        return [cleaned(held, name) for held in value]
    if isinstance(value, str):
        return HIDDEN if value and is_secret(name) else veiled(value)
    return value

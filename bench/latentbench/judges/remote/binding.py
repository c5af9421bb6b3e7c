"""Which endpoints the user allows, and which key goes to which: the user's own file, never a spec.

    # ~/.config/latentbench/endpoints.yaml
    hosts:
      openrouter.ai: {key_env: OPENROUTER_API_KEY}     # the variable that holds the key, never the key
      127.0.0.1:8000: {key_env: VLLM_KEY}              # a port of its own goes before the host
      gpu-box.lan: {allow_http: true}                  # not encrypted, and without a key

A spec, a baseline or a run folder may come from anybody. One that names both the variable and the host sends any secret anywhere,
and a list of variables that look harmless is a guess. So a file can only choose among what stands here: this machine without a
key, `api.openai.com` with its own, and what the user has written down. Nothing else is contacted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from pydantic import BeforeValidator, Field

from latentbench.judges.remote.address import Address, pasted_name, read_name
from latentbench.judges.remote.endpoint_list import with_host
from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.errors import SpecError
from latentbench.kernel.files import write_text
from latentbench.kernel.inputs import YAML_BYTES, read_text

PLACE = "LATENTBENCH_ENDPOINTS"
"""Environment variable that moves the file."""
NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _several(value: object) -> object:
    return () if value is None else (value,) if isinstance(value, str) else value


class Binding(Frozen):
    """What is allowed at a host."""

    key_env: Annotated[tuple[Annotated[str, Field(pattern=NAME)], ...], BeforeValidator(_several)] = ()
    """Environment variables whose value may be sent there as the key; the first one is, unless a reference names another."""
    key_header: str = Field(default="Authorization", pattern=r"^[A-Za-z0-9-]+$")
    """Header that the key is sent in, such as `api-key`; `Authorization` has `Bearer` in front."""
    allow_http: bool = False
    """Whether calls may go there unencrypted."""


class Bindings(Frozen):
    """The file."""

    hosts: Annotated[
        dict[str, Annotated[Binding, BeforeValidator(lambda v: {} if v is None else v)]],
        BeforeValidator(lambda v: {} if v is None else v),
    ] = Field(default_factory=dict)


BUILT_IN: Mapping[str, Binding] = {"api.openai.com": Binding(key_env=("OPENAI_API_KEY",))}
"""What needs no file, because its key can go nowhere else."""


@dataclass(frozen=True)
class Grant:
    """What a reference may do.

    Attributes:
        address: where its calls go.
        variable: the environment variable whose value is sent; None where nothing is.
        header: the header that it is sent in.
    """

    address: Address
    variable: str | None
    header: str

    def key(self) -> str | None:
        """The key, read now and kept nowhere.

        Raises:
            SpecError: what the variable holds cannot stand in a header.
        """
        value = (os.environ.get(self.variable) or "").strip() if self.variable else ""
        if not (value.isascii() and value.isprintable()):
            raise SpecError(f"the environment variable {self.variable} holds characters that no key has; set it again.")
        return value or None


_strict: ContextVar[str | None] = ContextVar("the file whose endpoints must be listed", default=None)
_label: ContextVar[str] = ContextVar("label of the judge that is loaded", default="")


@contextmanager
def called(label: str) -> Iterator[None]:
    """While the block lasts, messages say that it is the judge with this label that names an endpoint."""
    token = _label.set(label)
    try:
        yield
    finally:
        _label.reset(token)


@contextmanager
def only_listed(allowed: bool = False, file: str = "") -> Iterator[None]:
    """While the block lasts, an endpoint must stand in the user's file, be it on this machine or OpenAI's.

    For commands that are handed files of others and run without anybody looking. A context and not an argument, because judges
    are built in many places, some of them in other packages.

    Args:
        allowed: the user said that the endpoints which files name may be asked; the rules are then those of any run.
        file: that names them, for the message.
    """
    token = _strict.set(None if allowed else file or "a file")
    try:
        yield
    finally:
        _strict.reset(token)


def place() -> Path:
    """The file."""
    moved = os.environ.get(PLACE)
    return Path(moved) if moved else platformdirs.user_config_path("latentbench") / "endpoints.yaml"


def read_bindings() -> dict[str, Binding]:
    """Host -> what is allowed there, as the user has written it; nothing where there is no file.

    Raises:
        SpecError: the file does not fit.
    """
    path = place()
    if not path.exists():
        return {}
    found: dict[str, Binding] = {}
    for name, binding in validate(Bindings, read_yaml(path, may_be_empty=True) or {}, str(path)).hosts.items():
        key = read_name(name)
        if key in found:
            raise SpecError(f"{path}: {key} stands there twice.")
        found[key] = binding
    return found


def write_binding(name: str, key_env: str | None, allow_http: bool | None, key_header: str | None) -> tuple[Path, str]:
    """Allow a host, or more at one that is allowed. Returns the file, and the host as it stands there.

    Args:
        key_env: a variable whose value may be sent there, too.
        allow_http, key_header: as in `Binding`; None leaves them as they are.

    Raises:
        SpecError: a host, a variable or a header that is none.
    """
    path, (host, http), own = place(), pasted_name(name), read_bindings()
    said = own.get(host, Binding())
    if http and not (said.allow_http if allow_http is None else allow_http):
        raise SpecError(
            f"{name.strip()[:80]} is not encrypted. If that is right, say so: `bench endpoint allow {host} --allow-http`."
        )
    given: dict[str, Any] = {
        "key_env": list(dict.fromkeys([*said.key_env, *([key_env] if key_env else [])])),
        "allow_http": said.allow_http if allow_http is None else allow_http,
        "key_header": key_header or said.key_header,
    }
    new = validate(Binding, given, f"endpoint {host}")
    shown = new.model_dump(mode="json", exclude_defaults=True) | (
        {"key_env": new.key_env[0]} if len(new.key_env) == 1 else {}
    )
    text = read_text(path, YAML_BYTES) if path.exists() else ""
    write_text(path, with_host(text, host, shown, str(path)))
    return path, host


def granted(address: Address, key_env: str) -> Grant:
    """What the user allows at an address.

    Args:
        key_env: the variable that a reference names; "" for the one of the host.

    Raises:
        SpecError: not that; says what to write where.
    """
    own = read_bindings()
    listed = next((own[name] for name in address.names if name in own), None)
    known = next((BUILT_IN[name] for name in address.names if name in BUILT_IN), None)
    if listed is not None and known is not None and not listed.key_env:
        # To allow OpenAI for `bench gate` must not take its key away.
        listed = listed.model_copy(update={"key_env": known.key_env})
    binding = listed or known
    host = address.names[1]
    # Anything else may be a key that somebody put there.
    name = key_env if re.fullmatch("[A-Z_][A-Z0-9_]{0,63}", key_env) else "NAME"
    if listed is None and (file := _strict.get()) is not None:
        who = f"{file}, judge {_label.get()!r}," if _label.get() else file
        raise SpecError(
            f"{who} names the endpoint {address.names[0]}, and this command asks none that only a file names. "
            f"If you trust the file, allow it with --allow-endpoints (pytest: --latentbench-allow-endpoints); "
            f"if you trust the endpoint, {_how(host, '{}', f'bench endpoint allow {host}')}."
        )
    if binding is None and not address.loopback:
        http = address.scheme == "http"
        # Both at once, the host and its key: a second refusal after the first would be about what is known here.
        fields = [f"key_env: {name}"] * bool(key_env) + ["allow_http: true"] * http
        more = f" --key-env {name}" * bool(key_env) + " --allow-http" * http
        told = _how(host, f"{{{', '.join(fields)}}}", f"bench endpoint allow {host}{more}")
        raise SpecError(
            f"{host} is no endpoint of yours, so nothing is sent there{' (and http is not encrypted)' if http else ''}"
            f"{f', and key_env={name} is not bound to it' if key_env else ''}. If you trust it"
            f"{' with that key' if key_env else ''}, {told}{'' if key_env else '; a key needs --key-env NAME, too'}."
        )
    binding = binding or Binding()
    if address.scheme == "http" and not address.loopback and not binding.allow_http:
        raise SpecError(
            f"{host} would be asked over http, which is not encrypted; write https, or "
            f"{_how(host, 'allow_http: true', f'bench endpoint allow {host} --allow-http')}."
        )
    if key_env and key_env not in binding.key_env:
        raise SpecError(
            f"key_env={name} is not bound to {host}, so its value is not sent there. If it is the key of that host, "
            f"{_how(host, f'{{key_env: {name}}}', f'bench endpoint allow {host} --key-env {name}')}."
        )
    variable = key_env or next(iter(binding.key_env), None)
    return Grant(address, variable, binding.key_header)


def _how(host: str, line: str, command: str) -> str:
    name = f'"{host}"' if host.startswith("[") else host  # A bracket begins a list in YAML, and a pattern in a shell.
    return f"run `{command.replace(host, name)}`, or put `{name}: {line}` under `hosts:` in {place()}"

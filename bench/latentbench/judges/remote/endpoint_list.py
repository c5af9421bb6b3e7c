"""One line of the user's list of endpoints, written into the file without touching the others.

The file is the user's own, with comments that say why a host is there. Reading it, changing the value and dumping it again is the
short way, and loses every comment; a YAML library that keeps them would be a dependency for one line. So the parser says where
an entry stands, and the text is changed there and nowhere else. What comes out is read again before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from latentbench.judges.remote.address import read_name
from latentbench.kernel.errors import SpecError

HOSTS = "hosts"


def with_host(text: str, host: str, value: Mapping[str, Any], path: str) -> str:
    """The text of the list with an entry for a host, a new one behind the others.

    Args:
        text: of the file, which has been read and fits; "" where there is none.
        host: in the form of `read_name`.
        value: what is allowed there.
        path: of the file, for the message.

    Raises:
        SpecError: an entry that is written in a way that cannot be changed alone, such as by an alias.
    """
    shown = yaml.safe_dump(dict(value), default_flow_style=True, width=float("inf"), allow_unicode=True).strip()
    entry = f"{yaml.safe_dump({host: 0}, allow_unicode=True)[:-3]} {shown}"
    changed = _changed(text, host, entry)
    before, after = _hosts(text), _hosts(changed)
    if after != {**{name: held for name, held in before.items() if name != host}, host: dict(value)}:
        raise SpecError(
            f"{path} is written in a way that cannot be changed line by line. Put `{entry}` under `{HOSTS}:` yourself."
        )
    return changed


def _hosts(text: str) -> dict[str, Any]:
    try:
        held = (yaml.safe_load(text) or {}).get(HOSTS) or {}
        return {read_name(name): held[name] or {} for name in held}
    except (yaml.YAMLError, AttributeError, TypeError, SpecError):
        return {}


def _changed(text: str, host: str, entry: str) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, MappingNode):
        return f"{_ended(text)}{HOSTS}:\n  {entry}\n"
    hosts = next((value for key, value in root.value if key.value == HOSTS), None)
    if hosts is None:
        return f"{_ended(text)}{HOSTS}:\n  {entry}\n"
    if not isinstance(hosts, MappingNode):  # `hosts:` and nothing behind it
        at = hosts.end_mark.index
        return f"{text[:at]}\n  {entry}{text[at:]}" if not hosts.value else text
    for key, value in hosts.value:
        if isinstance(key, ScalarNode) and _is(key.value, host):
            return _replaced(text, key.start_mark.index, _end(value, key), entry, key.start_mark.column, hosts)
    if hosts.flow_style:
        at = hosts.start_mark.index + 1
        return f"{text[:at]}{entry}{', ' if hosts.value else ''}{text[at:]}"
    last, first = hosts.value[-1], hosts.value[0]
    end = text.find("\n", _end(last[1], last[0]))
    head, tail = (text, "") if end < 0 else (text[:end], text[end:])
    return f"{head}\n{' ' * first[0].start_mark.column}{entry}{tail or chr(10)}"


def _replaced(text: str, start: int, end: int, entry: str, indent: int, hosts: MappingNode) -> str:
    """The comments inside an old entry are kept above the new one."""
    old = text[start:end]
    kept = [line.strip() for line in old.splitlines() if line.lstrip().startswith("#")]
    above = "" if hosts.flow_style else "".join(f"{line}\n{' ' * indent}" for line in kept)
    return f"{text[:start]}{above}{entry}{text[end:]}"


def _is(name: str, host: str) -> bool:
    try:
        return read_name(name) == host
    except SpecError:
        return False


def _end(node: Node, key: Node) -> int:
    """Where the text of a value ends; a block has its end mark at whatever follows it."""
    if isinstance(node, ScalarNode):
        return int(node.end_mark.index if node.value or node.style else key.end_mark.index + 1)
    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1], last[0]) if isinstance(node, MappingNode) else _end(last, key)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"

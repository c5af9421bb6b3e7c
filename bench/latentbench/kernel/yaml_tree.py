"""YAML -> a tree of plain values, or a message with line and column.

PyYAML's safe loader runs no code, and still reads more than anybody writes on purpose: a key that stands twice (the last one
wins, in silence), `no` as a key that is false, `2020-13-45` as a date that does not exist, and a few lines of aliases that stand
for a billion values. What is read here is what JSON has, in YAML's spelling; a date stays the text that it is. Another parser
would be the tempting way, and would read the task files that exist in another way.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from latentbench.kernel.inputs import DEPTH, NODES, Unusable, settle

_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null"))
_KEYS = frozenset((_TAG + "str", _TAG + "merge"))
_LEFT_OUT = frozenset((_TAG + "timestamp", _TAG + "value"))
PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
MERGED = 16
"""Mappings that one `<<` names at most."""
WRITTEN_OUT = 10_000
"""Values that a document of any length may have when each alias is written out."""
PER_NODE = 20
"""Values with aliases written out, for each one that stands in the text: nobody repeats the whole of a long file twenty times."""


class _Tree(yaml.SafeLoader):
    """The safe loader without dates, and with every limit that it lacks."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own name and form
        first: [(tag, pattern) for tag, pattern in known if tag not in _LEFT_OUT]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._merged = 0
        self._nodes = 0
        self._sizes: dict[Node, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._depth > DEPTH:
            raise ComposerError(None, None, f"it nests more than {DEPTH} levels deep", event.start_mark)
        self._depth += 1
        self._nodes += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_document(self) -> Node | None:
        """The document, after its values were counted with each alias written out, which takes no longer than reading it."""
        root = super().compose_document()
        if root is not None and self._written_out(root) > max(WRITTEN_OUT, PER_NODE * self._nodes):
            raise ComposerError(None, None, "its aliases stand for too many values", root.start_mark)
        return root

    def _written_out(self, root: Node) -> int:
        """Values of a document, those behind an alias counted at every place where it stands; depth is at most `DEPTH`."""
        if isinstance(root, ScalarNode):
            return 1
        if root not in self._sizes:
            self._sizes[root] = 0  # an alias to what it stands in, which is refused behind this
            inner = [node for pair in root.value for node in pair] if isinstance(root, MappingNode) else root.value
            self._sizes[root] = 1 + sum(map(self._written_out, inner))
        return self._sizes[root]

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        node = super().compose_scalar_node(anchor)
        if PAIR.search(node.value):
            # JSON, which YAML includes, writes a sign beyond 16 bits as two escapes; PyYAML leaves them apart.
            node.value = PAIR.sub(lambda m: m[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), node.value)
        if node.tag not in _SCALARS and node.tag != _TAG + "merge":
            raise ComposerError(None, None, _unread(node), node.start_mark)
        return node

    def compose_sequence_node(self, anchor: Any) -> Any:
        node = super().compose_sequence_node(anchor)
        if node.tag != _TAG + "seq":
            raise ComposerError(None, None, _unread(node), node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        if node.tag != _TAG + "map":
            raise ComposerError(None, None, _unread(node), node.start_mark)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise ComposerError(None, None, "a key must be a text, and is a list or has keys", key.start_mark)
            if key.tag not in _KEYS:
                what = key.tag.removeprefix(_TAG)
                said = f"the key {key.value[:40]!r} is read as {what} and not as text; put it in quotes"
                raise ComposerError(None, None, said, key.start_mark)
            if key.value in seen:
                said = (
                    f"the key {key.value[:80]!r} stands twice, first in line {seen[key.value] + 1}; remove one of them"
                )
                raise ComposerError(None, None, said, key.start_mark)
            seen[key.value] = key.start_mark.line
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        for key, value in node.value:
            if key.tag == _TAG + "merge" and len(value.value) > MERGED and not isinstance(value, MappingNode):
                raise ConstructorError(None, None, f"`<<` names more than {MERGED} mappings", value.start_mark)
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > NODES:
            raise ConstructorError(None, None, "its aliases stand for too many values", node.start_mark)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except (ValueError, LookupError, OverflowError, TypeError) as e:
            said = "it has thousands of digits" if "integer string conversion" in str(e) else str(e)[:100]
            what = node.tag.removeprefix(_TAG)
            raise ConstructorError(None, None, f"no value of type {what}: {said}", node.start_mark) from e


def _unread(node: Node) -> str:
    return f"the tag {node.tag.replace(_TAG, '!!')[:60]!r} is not read here; write a plain value"


@lru_cache
def parse_yaml(text: str) -> Any:
    """The value of a YAML text; callers copy it. Parsing a task file takes 10 ms and more, and every use of it reads it.

    Raises:
        yaml.YAMLError: not YAML, or something in it that is not read here. Unusable: see `latentbench.kernel.inputs.settle`.
    """
    try:
        value = yaml.load(text, _Tree)
    except RecursionError as e:
        raise Unusable(f"it nests more than {DEPTH} levels deep") from e
    settle(value, names_files=True)
    return value

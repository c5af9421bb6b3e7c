"""Fields that a declaration got after files and hashes of it were written: while such a field says its default, it is not dumped.

A new option with a default changes nothing that anybody has, so it must not change an identity either.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import SerializerFunctionWrapHandler, model_serializer

from latentbench.kernel.config import Frozen


class Grown(Frozen):
    """A declaration that has grown."""

    later: ClassVar[tuple[str, ...]] = ()
    """The fields that came later."""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = handler(self)
        for name in self.later:
            if getattr(self, name) == type(self).model_fields[name].get_default(call_default_factory=True):
                dumped.pop(name, None)
        return dumped

"""Which of a judge's options stand in its identity: those that can change an answer and are not at their default.

Writing all of them down is the tempting way, and every option that is added later would then make another judge of each old one.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel

from latentbench.kernel.identity import canonical


def set_options(params: BaseModel, names: Collection[str]) -> list[tuple[str, str]]:
    """Those of the named fields that are not at their default, with their values as text, in the order of the model."""
    given = params.model_dump(include=set(names))
    fields = type(params).model_fields
    return [
        (name, canonical(value))
        for name, value in given.items()
        if value != fields[name].get_default(call_default_factory=True)
    ]

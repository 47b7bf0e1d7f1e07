"""Which addresses a request may go to."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.http import PrivateHost, checked_addresses, permitted
from fieldline_core.errors import Misconfigured, Unavailable

INTERNAL = [PrivateHost.model_validate({"host": "ERP.corp.", "network": "10.20.0.0/16"})]
EVERYTHING = [PrivateHost.model_validate({"host": "erp.corp", "network": network}) for network in ("0.0.0.0/0", "::/0")]

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255",
    "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "::1", "fc00::1", "fd12:3456::1",
    "2001:db8::1", "3fff::1", "5f00::1", "100::1",
]  # fmt: skip
NEVER = [
    "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255", "::", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::", "2001::1", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "fd00:ec2::254",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_permitted(address: str) -> None:
    assert permitted(address, "anyone.example", [])


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_permitted_only_for_an_allowed_host(address: str) -> None:
    assert not permitted(address, "erp.corp", [])
    assert not permitted(address, "other.corp", EVERYTHING)
    assert permitted(address, "erp.corp", EVERYTHING)


@pytest.mark.parametrize("address", NEVER)
def test_metadata_and_tunnels_are_never_permitted(address: str) -> None:
    assert not permitted(address, "erp.corp", EVERYTHING)


def test_an_allowance_holds_for_its_network_only() -> None:
    assert permitted("10.20.3.4", "erp.corp", INTERNAL)
    assert permitted("10.20.3.4", "Erp.Corp.", INTERNAL)
    assert not permitted("10.21.3.4", "erp.corp", INTERNAL)
    assert not permitted("10.20.3.4", "erp.corp.evil.example", INTERNAL)


@given(st.ip_addresses())
def test_what_is_permitted_without_allowance_is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert address.is_global or not permitted(str(address), "anyone.example", [])


def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    with pytest.raises(Misconfigured, match="allow_private"):
        checked_addresses("mixed.example", 443, [], lambda host, port: ["8.8.8.8", "127.0.0.1"])


def test_a_host_without_address_is_unavailable() -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def empty(host: str, port: int) -> list[str]:
        return []

    for lookup in (nobody, empty):
        with pytest.raises(Unavailable, match=r"gone\.example") as caught:
            checked_addresses("gone.example", 443, [], lookup)
        assert not caught.value.sent

"""The contract that every connector keeps, as tests to subclass; needs pytest.

class TestMemory(ConnectorContract):
    connector_class = Memory

    @pytest.fixture
    def connector(self) -> Memory:
        return Memory(MemoryConfig(store="orders"))

Each ability that the connector defines needs its fixtures: `query` to read, `target`, `rows` and `target_rows` to write,
`sign` to receive, `topic` and `make_change` to listen, `subscriptions` and `next_message` beside them to be told. Abilities that
it does not define are left out.
"""

import pytest

for _module in ("abilities", "feeds", "hooks", "settings", "sinks", "sources", "subscribes"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from fieldline_connectors.testing.abilities import MakeChange, frames_agree, offers, same  # noqa: E402
from fieldline_connectors.testing.feeds import FeedContract  # noqa: E402
from fieldline_connectors.testing.hooks import HookContract, Sign  # noqa: E402
from fieldline_connectors.testing.rows import sample_rows  # noqa: E402
from fieldline_connectors.testing.settings import SettingsContract  # noqa: E402
from fieldline_connectors.testing.sinks import SinkContract, TargetRows, finished  # noqa: E402
from fieldline_connectors.testing.sources import SourceContract  # noqa: E402
from fieldline_connectors.testing.subscribes import NextMessage, SubscribesContract, Subscriptions  # noqa: E402


class ConnectorContract(SettingsContract, SourceContract, SinkContract, HookContract, FeedContract, SubscribesContract):
    """All of the contract, for whatever the connector can do."""

    def __init_subclass__(cls) -> None:
        """Takes away the tests of abilities that the connector does not have."""
        super().__init_subclass__()
        connector_class = getattr(cls, "connector_class", None)
        parts = (
            (SourceContract, "read"), (SinkContract, "write"), (HookContract, "receive"), (FeedContract, "listen"),
            (SubscribesContract, "subscribe"),
        )  # fmt: skip
        for part, verb in parts:
            if connector_class and not offers(connector_class, verb):
                for name in vars(part):
                    if name.startswith("test_"):
                        setattr(cls, name, None)


__all__ = [
    "ConnectorContract", "FeedContract", "HookContract", "MakeChange", "NextMessage", "SettingsContract", "Sign", "SinkContract",
    "SourceContract", "SubscribesContract", "Subscriptions", "TargetRows", "finished", "frames_agree", "same", "sample_rows",
]  # fmt: skip

"""`fieldline relay`: the process of the relay."""

import signal
from types import FrameType

from fieldline_core.logs import log
from fieldline_core.pipeline.relay import Relay
from fieldline_core.settings import Settings
from fieldline_server.broker import Bell
from fieldline_server.wiring import open_engine


def run_relay(settings: Settings) -> None:
    """Runs the relay until SIGTERM or SIGINT."""
    engine = open_engine(settings, "relay", connections=2)
    relay = Relay(engine, Bell(settings.broker_url.get_secret_value()))

    def end(signum: int, frame: FrameType | None) -> None:
        relay.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    log().info("relay_starts")
    relay.run()
    engine.store.close()

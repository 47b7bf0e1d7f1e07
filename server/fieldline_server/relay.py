"""`fieldline relay`: the process of the relay, and of the sequencer beside it."""

import signal
import threading
from types import FrameType

from fieldline_core.logs import log
from fieldline_core.pipeline.relay import Relay
from fieldline_core.pipeline.sequence import Sequencer
from fieldline_core.settings import Settings
from fieldline_server.broker import Bell
from fieldline_server.wiring import open_engine


def run_relay(settings: Settings) -> None:
    """Runs the relay until SIGTERM or SIGINT."""
    engine = open_engine(settings, "relay", connections=3)
    relay, sequencer = Relay(engine, Bell(settings.broker_url.get_secret_value())), Sequencer(engine)
    sequencing = threading.Thread(target=sequencer.run, name="sequencer", daemon=True)

    def end(signum: int, frame: FrameType | None) -> None:
        relay.stop()
        sequencer.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    log().info("relay_starts")
    sequencing.start()
    relay.run()
    sequencing.join()
    engine.store.close()

"""`fieldline relay`: the process of the relay; beside it the sequencer, the listeners, and what shows checkpoints to witnesses."""

import signal
import threading
from types import FrameType

from fieldline_core.logs import log
from fieldline_core.pipeline.listen import Listeners
from fieldline_core.pipeline.relay import Relay
from fieldline_core.pipeline.sequence import Sequencer
from fieldline_core.pipeline.witness import Attestation, enlist
from fieldline_core.settings import Settings
from fieldline_server.broker import Bell
from fieldline_server.openlineage import Lineage, lineage
from fieldline_server.wiring import open_engine
from fieldline_server.witnesses import open_witnesses

_CONNECTIONS = 6
_GRACE_S = 10.0


def run_relay(settings: Settings) -> None:
    """Runs the relay until SIGTERM or SIGINT."""
    witnesses = open_witnesses(settings)
    engine = open_engine(settings, "relay", connections=_CONNECTIONS + len(witnesses))
    relay, sequencer = Relay(engine, Bell(settings.broker_url.get_secret_value())), Sequencer(engine)
    beside: list[Sequencer | Listeners | Attestation | Lineage] = [sequencer, Listeners(engine), *enlist(engine, witnesses)]
    beside += lineage(engine)
    threads = [threading.Thread(target=each.run, name=type(each).__name__, daemon=True) for each in beside]

    def end(signum: int, frame: FrameType | None) -> None:
        for each in (relay, *beside):
            each.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    log().info("relay_starts")
    for thread in threads:
        thread.start()
    relay.run()
    for thread in threads:
        # A witness that hangs is not waited for: what it did not confirm is shown to it again.
        thread.join(_GRACE_S)
    engine.close()

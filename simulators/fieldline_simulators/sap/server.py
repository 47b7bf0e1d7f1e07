"""The system behind a port."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from fieldline_simulators.certificate import TlsFiles
from fieldline_simulators.sap.admin import answer
from fieldline_simulators.sap.calls import refusal
from fieldline_simulators.sap.faults import Fault
from fieldline_simulators.sap.seed import plant
from fieldline_simulators.sap.system import V2_ROOT, V4_ROOT, Options, System
from fieldline_simulators.serving import Reply, Server


class Simulator(Server):
    """The server of one system; it ends with the block it is opened in."""

    def __init__(self, system: System, port: int = 0, tls: TlsFiles | None = None) -> None:
        super().__init__(port, tls=tls)
        self.system = system
        system.sessions.secure = tls is not None

    @property
    def v2_url(self) -> str:
        """Root of the service in OData V2."""
        return f"{self.url}{V2_ROOT}"

    @property
    def v4_url(self) -> str:
        """Root of the service in OData V4."""
        return f"{self.url}{V4_ROOT}"

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes, origin: str) -> Reply:
        """What a request gets; the simulator's own pages and orders are never struck."""
        if not target.startswith("/sap/"):
            return answer(self.system, method, target, body)
        found = self.system.struck(method, target)
        lost = self._strike((each for each in found if not each.after_commit), target, headers)
        if lost is not None:
            return lost
        made = self.system.answer(method, target, headers, body, origin)
        return self._strike((each for each in found if each.after_commit), target, headers) or made

    def server_close(self) -> None:
        """Stops listening, ends what is under way, and closes the state."""
        super().server_close()
        self.system.close()

    def _strike(self, faults: Iterable[Fault], target: str, headers: Mapping[str, str]) -> Reply | None:
        """Lets faults happen; a reply where one leaves the client without a good one."""
        for fault in faults:
            match fault.kind:
                case "slow":
                    time.sleep(fault.seconds)
                case "drop" | "hold":
                    return Reply(cut=fault.kind)
                case "expire":
                    with self.system.store.lock:
                        self.system.sessions.end(headers)
                case _:
                    return refusal(fault.refusal(), v4=target.startswith(V4_ROOT), accept=headers.get("accept", ""))
        return None


def open_system(options: Options) -> System:
    """A system from its state file, or a new one with a company's records."""
    system = System(options)
    try:
        if system.store.is_new and options.model.by_set.keys() >= {"A_BusinessPartner", "Z_MaterialPlanningHour"}:
            plant(system.store, options.seed, partners=options.partners, orders=options.orders, hours=options.hours,
                  records=options.records)  # fmt: skip
    except BaseException:
        system.close()
        raise
    return system


@contextmanager
def running(options: Options | None = None, tls: TlsFiles | None = None, port: int = 0) -> Iterator[Simulator]:
    """A simulator in a thread of this process."""
    system = open_system(options or Options())
    try:
        server = Simulator(system, port, tls)
    except BaseException:
        system.close()
        raise
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

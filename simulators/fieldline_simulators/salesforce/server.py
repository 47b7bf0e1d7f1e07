"""The org behind a port, by http or https: one thread for each connection."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import parse_qsl

from fieldline_simulators.certificate import TlsFiles
from fieldline_simulators.salesforce.api import all_routes, answer
from fieldline_simulators.salesforce.calls import Call
from fieldline_simulators.salesforce.jobs import Jobs
from fieldline_simulators.salesforce.org import Options, Org
from fieldline_simulators.salesforce.outbound_sender import Sender
from fieldline_simulators.salesforce.pubsub_server import PubSub
from fieldline_simulators.salesforce.seed import plant
from fieldline_simulators.serving import Reply, Server


class Simulator(Server):
    """The server of one org; it ends with the block it is opened in."""

    # A file of the Bulk API may have 150 MB.
    most_bytes = 160_000_000

    def __init__(
        self, org: Org, port: int = 0, host: str = "127.0.0.1", tls: TlsFiles | None = None, pubsub_port: int | None = None
    ) -> None:
        super().__init__(port, host, tls)
        self.org, self.jobs, self.routes = org, Jobs(org), all_routes()
        self.pubsub = None if pubsub_port is None else PubSub(org, pubsub_port, host, tls)
        self.outbound = Sender(org, self.url)

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes, origin: str) -> Reply:
        """What a request gets."""
        path, _, query = target.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        made = answer(Call(self.org, self.jobs, self.routes, method, path, options, dict(headers), body, origin))
        return Reply(made.status, made.body, made.headers, cut=made.cut)

    def server_close(self) -> None:
        """Stops listening, ends what is under way, and closes the state."""
        super().server_close()
        if self.pubsub:
            self.pubsub.close()
        self.outbound.close()
        self.jobs.close()
        self.org.close()


def open_org(options: Options) -> Org:
    """An org from its state file, or a new one with a sales department's records."""
    org = Org(options)
    if org.is_new:
        plant(org)
    return org


@contextmanager
def running(
    options: Options | None = None, tls: TlsFiles | None = None, port: int = 0, pubsub_port: int | None = None
) -> Iterator[Simulator]:
    """A simulator in a thread of this process; with the Pub/Sub API where it is given a port."""
    with Simulator(open_org(options or Options()), port, tls=tls, pubsub_port=pubsub_port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

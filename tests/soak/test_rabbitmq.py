"""The same flow with RabbitMQ as its broker: Debian's package, as a private node."""

import os
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import Eventually
from tests.crash_matrix import EXPECTED, OdbcSink, field, prepare_ground
from tests.processes import Proxy, fleet

from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.manage import list_runs, request_run
from fieldline_server.embedded import Postgres
from fieldline_server.processes import Child, Program

pytestmark = pytest.mark.soak

# Not the wrapper in /usr/sbin, which only serves the node of the machine.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def free_port() -> int:
    """A port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    """Whether a broker listens there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"not AMQP")
            return connection.recv(4) == b"AMQP"
    except OSError:
        return False


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a node of our own; its port mapper is ours, too, and ends with it."""
    if not SERVER.exists() or not (epmd := shutil.which("epmd")):
        pytest.skip("RabbitMQ is not installed: apt-get install --no-install-recommends rabbitmq-server")
    port, mapper_port = free_port(), free_port()
    environment = {
        **os.environ, "HOME": str(tmp_path), "RABBITMQ_NODENAME": f"fieldline-{port}@localhost", "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_DIST_PORT": str(free_port()), "RABBITMQ_MNESIA_BASE": str(tmp_path),
        "RABBITMQ_LOG_BASE": str(tmp_path), "RABBITMQ_LOGS": "-", "RABBITMQ_CONF_ENV_FILE": str(tmp_path / "none"),
        "RABBITMQ_CONFIG_FILE": str(tmp_path / "none"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(tmp_path / "plugins"),
        "RABBITMQ_PID_FILE": str(tmp_path / "pid"), "ERL_EPMD_PORT": str(mapper_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
    }  # fmt: skip
    mapper = Child(Program("epmd", [epmd, "-address", "127.0.0.1", "-port", str(mapper_port)]), tmp_path / "epmd.log")
    node = Child(Program("rabbitmq", [str(SERVER)], environment, ready=lambda: answers(port)), tmp_path / "rabbitmq.log")
    try:
        node.wait_until_ready()
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        node.kill()
        mapper.kill()


def test_a_flow_runs_with_rabbitmq_even_where_it_falls_silent(
    broker_url: str, postgres: Postgres, migrated_template: str, tmp_path: Path, eventually: Eventually
) -> None:
    ground = prepare_ground(postgres, migrated_template, tmp_path)
    with field(ground, OdbcSink) as at, closing(Proxy(broker_url)) as way:
        seconds = {"FIELDLINE_LEASE_S": "1", "FIELDLINE_RESEND_S": "1", "FIELDLINE_STALL_S": "20"}
        with fleet(tmp_path, {**at.environment, **seconds, "FIELDLINE_BROKER_URL": way.url}) as processes:
            processes.add("relay", "relay")
            processes.add("worker", "worker", "-c", "2")
            # The second run is asked for when neither the relay nor the worker reaches the broker any longer.
            for times in (1, 2):
                eventually(lambda: all(run["state"] == "succeeded" for run in list_runs(at.bench.engine)), within_s=120)
                right = Counter(key for key, score in at.sink.written() if EXPECTED[key] == score)
                assert right == dict.fromkeys(EXPECTED, times)
                if times == 1:
                    way.fall_silent()
                    request_run(at.bench.engine, "f", "test", rescore=True)
        assert check_invariants(at.bench.engine.store) == []

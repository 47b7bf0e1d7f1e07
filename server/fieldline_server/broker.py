"""Celery as a doorbell: the settings of its broker, and hints that carry only an id."""

import os
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from fieldline_core.logs import log

TASKS = {"read": "fieldline.read", "score": "fieldline.score", "write": "fieldline.write"}

_SETTINGS: dict[str, Any] = {
    "result_backend": None,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    # Hints are disposable: the lease recovers work, not the broker.
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_soft_shutdown_timeout": 20.0,
    # There are no eta tasks to put back: an idle worker ends at once.
    "worker_enable_soft_shutdown_on_idle": False,
    # A worker that replaces another one of its name dies on the pidbox queue that RabbitMQ still keeps for the first.
    "worker_enable_remote_control": False,
    # A child imports a good deal before it says that it is up; on a busy machine that takes longer than Celery's four seconds.
    "worker_proc_alive_timeout": 60.0,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_publish_retry": False,
    "task_create_missing_queues": True,
}
# Without these, a half-open connection leaves a worker deaf, and a publisher hanging (Redis) or talking to nobody (AMQP) for ever.
_REDIS = {"socket_timeout": 5, "socket_connect_timeout": 3, "socket_keepalive": True, "health_check_interval": 5}
_AMQP = {"connect_timeout": 3, "read_timeout": 5, "write_timeout": 5, "confirm_publish": True}


def make_app(broker_url: str) -> Celery:
    """A Celery application with the settings that were tested; worker_disable_prefetch breaks RabbitMQ and is for Redis only."""
    app = Celery("fieldline", broker=broker_url)
    redis = broker_url.startswith(("redis", "rediss"))
    app.conf.update(_SETTINGS, worker_disable_prefetch=redis, broker_transport_options=_REDIS if redis else _AMQP)
    if not redis:
        app.conf.update(broker_heartbeat=10)
    return app


class Bell:
    """Rings by publishing a hint; a broker that is away costs nothing but the hint, which the relay sends again."""

    def __init__(self, broker_url: str) -> None:
        self._app = make_app(broker_url)

    def __call__(self, queue: str, verb: str, id: int) -> bool:
        """Publishes one hint; False where the broker did not take it."""
        try:
            self._app.send_task(TASKS[verb], args=[id], queue=queue, ignore_result=True, retry=False)
        except (OperationalError, OSError) as error:
            log().warning("hint_lost", queue=queue, error=type(error).__name__)
            return False
        return True


def worker_environment() -> dict[str, str]:
    """What a Celery worker's environment must hold, over ours."""
    return {"REMAP_SIGTERM": "SIGQUIT", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
            "FIELDLINE_WORKER": os.environ.get("FIELDLINE_WORKER", "")}  # fmt: skip

"""The models that a process keeps loaded, least recently used out first."""

import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import TypeAlias

from fieldline_core.errors import Misconfigured
from fieldline_inference.model import RUN_BYTES, OnnxModel
from fieldline_inference.registry import Device, ModelVersion, Registry
from fieldline_inference.runtime import FAILURES, open_session, out_of_memory

_Key: TypeAlias = tuple[str, int, str, Device, bool]


class Sessions:
    """Loads models on demand; safe for threads, not for fork: load nothing before a process forks."""

    def __init__(self, registry: Registry, cache_directory: Path, capacity: int = 8, run_bytes: int = RUN_BYTES) -> None:
        self._registry = registry
        self._cache_directory = cache_directory
        self._capacity = capacity
        self._run_bytes = run_bytes
        self._lock = threading.Lock()
        self._loaded: OrderedDict[_Key, Future[OnnxModel]] = OrderedDict()
        self._process = 0

    def load(self, version: ModelVersion) -> OnnxModel:
        """The loaded model; a version that several threads ask for at once is loaded once, while others stay at hand.

        A model that is put out to make room ends when its last run ends. Raises Misconfigured where it cannot be loaded here.
        """
        key = (version.name, version.version, version.digest, version.device, version.fallback)
        with self._lock:
            self._check_process()
            waiting = self._loaded.get(key)
            if waiting is None:
                mine = self._loaded[key] = Future()
            self._loaded.move_to_end(key)
            while len(self._loaded) > self._capacity:
                self._loaded.popitem(last=False)
        return waiting.result() if waiting else self._fill(key, mine, version)

    def _fill(self, key: _Key, future: "Future[OnnxModel]", version: ModelVersion) -> OnnxModel:
        try:
            model = self._open(version)
        except BaseException as error:
            with self._lock:
                if self._loaded.get(key) is future:
                    del self._loaded[key]
            future.set_exception(error)
            raise
        future.set_result(model)
        return model

    def _open(self, version: ModelVersion) -> OnnxModel:
        path = self._registry.fetch(version.digest, self._cache_directory)
        try:
            session, runtime = open_session(path, version.device, fallback=version.fallback)
        except FAILURES as error:
            why = "there is not enough memory" if out_of_memory(error) else "its onnxruntime refuses what another one accepted"
            raise Misconfigured(f"the model {version} cannot be loaded here: {why}") from error
        return OnnxModel(version, session, runtime, self._run_bytes)

    def _check_process(self) -> None:
        if self._process not in (0, os.getpid()):
            raise RuntimeError("models were loaded before this process was forked: its sessions would hang")
        self._process = os.getpid()

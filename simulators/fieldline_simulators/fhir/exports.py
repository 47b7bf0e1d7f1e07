"""Bulk Data `$export`: a job is begun, asked after, and its files are fetched and deleted."""

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from fieldline_simulators.fhir.calls import Answer, Call
from fieldline_simulators.fhir.outcomes import invalid, not_found, not_supported
from fieldline_simulators.fhir.parameters import TYPES, Parameter, parameters_of
from fieldline_simulators.fhir.profiles import Profile
from fieldline_simulators.fhir.store import Store, stamp
from fieldline_simulators.fhir.values import local_reference, raw, span

_MOST_JOBS = 100
_LINES_IN_FILE = 1000
_FROM = re.compile(r"bytes=(\d{1,18})-")


@dataclass(slots=True)
class Job:
    """One export: its files as they were when it began, and how often it still answers that it is under way."""

    request: str
    begun: str
    polls_left: int
    scopes: tuple[str, ...] | None
    signature: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    files: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)


class Exports:
    """The jobs of one server."""

    def __init__(self, store: Store, profile: Profile, polls: int) -> None:
        self.store, self.profile = store, profile
        self._polls = polls
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, call: Call, may_read: Callable[[str], bool]) -> Answer:
        """Begins a job of the system, of all patients or of a group."""
        level = "system" if len(call.segments) == 1 else call.segments[0]
        if level not in self.profile.exports:
            raise not_supported(f"$export of {level} is not supported", 404)
        if "respond-async" not in call.headers.get("prefer", ""):
            raise invalid("An export needs the header Prefer: respond-async")
        given = dict(call.query)
        types = given["_type"].split(",") if given.get("_type") else sorted(TYPES)
        if unknown := [each for each in types if each not in TYPES]:
            raise invalid(f"Unknown resource type: {unknown[0]}")
        since = span(given.get("_since", ""))
        if given.get("_since") and since is None:
            raise invalid("_since is no instant")
        patients = None if level == "system" else self._patients(call)
        job = Job(_request_url(call), stamp(self.store.newest), self._polls, call.scopes)
        with self.store.lock:
            for type in types:
                if may_read(type) and type not in self.profile.absent:
                    chosen = [each for each in self._of(type, patients) if not since or _updated(each) >= stamp(since[0])]
                    job.files += [(type, chosen[at : at + _LINES_IN_FILE]) for at in range(0, len(chosen), _LINES_IN_FILE)]
        return Answer(202, headers={"Content-Location": f"{call.base_url}/_bulk/{self._keep(job)}"})

    def poll(self, call: Call, id: str) -> Answer:
        """Says that the job is under way, or what its files are."""
        with self._lock:
            job = self._job(id)
            if job.polls_left > 0:
                job.polls_left -= 1
                headers = {"X-Progress": "in progress", **({"Retry-After": "1"} if self.profile.export_says_when else {})}
                return Answer(202, headers=headers)
        signed = f"?signature={job.signature}" if self.profile.signed_downloads else ""
        output = [
            {"type": type, "url": f"{call.base_url}/_bulk/{id}/{number}.ndjson{signed}", "count": len(lines)}
            for number, (type, lines) in enumerate(job.files)
        ]
        manifest = {
            "transactionTime": job.begun, "request": job.request, "requiresAccessToken": not self.profile.signed_downloads,
            "output": output, "error": [], "deleted": [],
        }  # fmt: skip
        return Answer(200, content=orjson.dumps(manifest), media_type="application/json")

    def file(self, call: Call, id: str, name: str) -> Answer:
        """One file, a resource in each line; from a byte on where that is asked for."""
        number = name.removesuffix(".ndjson")
        with self._lock:
            job = self._job(id)
        if not number.isdecimal() or int(number) >= len(job.files):
            raise not_found()
        lines = b"".join(orjson.dumps(each) + b"\n" for each in job.files[int(number)][1])
        asked = _FROM.fullmatch(call.headers.get("range", ""))
        if not asked:
            return Answer(200, content=lines, media_type="application/fhir+ndjson")
        begin = int(asked[1])
        if begin >= len(lines):
            return Answer(416, headers={"Content-Range": f"bytes */{len(lines)}"}, content=b"")
        place = {"Content-Range": f"bytes {begin}-{len(lines) - 1}/{len(lines)}"}
        return Answer(206, headers=place, content=lines[begin:], media_type="application/fhir+ndjson")

    def is_signed(self, call: Call) -> bool:
        """Whether a download bears its job's signature, so that no token is asked for."""
        with self._lock:
            job = self._jobs.get(call.segments[1]) if len(call.segments) == 3 and call.segments[0] == "_bulk" else None
        return bool(job) and self.profile.signed_downloads and dict(call.query).get("signature") == (job and job.signature)

    def remove(self, id: str) -> Answer:
        """Deletes a job with its files."""
        with self._lock:
            self._job(id)
            del self._jobs[id]
        return Answer(202)

    def _keep(self, job: Job) -> str:
        id = secrets.token_urlsafe(9)
        with self._lock:
            self._jobs[id] = job
            while len(self._jobs) > _MOST_JOBS:
                self._jobs.popitem(last=False)
        return id

    def _job(self, id: str) -> Job:
        found = self._jobs.get(id)
        if found is None:
            raise not_found()
        return found

    def _patients(self, call: Call) -> set[str]:
        if call.segments[0] == "Patient":
            return {f"Patient/{each['id']}" for each in self.store.all("Patient")}
        group = self.store.resource("Group", call.segments[1])
        if group is None:
            raise not_found()
        members = (local_reference(each.get("entity")) for each in group.get("member", ()))
        return {each for each in members if each and each.startswith("Patient/")}

    def _of(self, type: str, patients: set[str] | None) -> Iterator[dict[str, Any]]:
        """The resources of a type; only those that belong to these patients, where they are given."""
        parameter = parameters_of(type).get("patient")
        for each in self.store.all(type):
            own = {f"Patient/{each['id']}"} if type == "Patient" else _references(each, parameter)
            if patients is None or not patients.isdisjoint(own):
                yield each


def _references(resource: dict[str, Any], parameter: Parameter | None) -> set[str]:
    return {key for value in raw(resource, parameter) if (key := local_reference(value))} if parameter else set()


def _updated(resource: dict[str, Any]) -> str:
    return str(resource["meta"]["lastUpdated"])


def _request_url(call: Call) -> str:
    query = "&".join(f"{name}={value}" for name, value in call.query)
    return f"{call.base_url}/{'/'.join(call.segments)}{'?' if query else ''}{query}"

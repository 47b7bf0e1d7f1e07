"""What `fieldline demo` shows while it runs, and how it goes from one step to the next."""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from fieldline_server.cli.show import note, show_table

if TYPE_CHECKING:
    from fieldline_core.pipeline.engine import Engine
    from fieldline_core.settings import Settings
    from fieldline_server.demo_ehr import Ehr
    from fieldline_server.demo_org import Org
    from fieldline_server.demo_sap import Sap
    from fieldline_server.demo_systems import Databases, Inbox, System
    from fieldline_server.up import Running

_EVENTS_WITHIN_S = 60.0
# Nothing is under way when the demo ends, and nothing of it is kept: there is nothing to wait for.
_GRACE_S = 0.0
_COUNTS = ("rows", "scored", "held", "skipped", "written", "refused", "left_alone", "dead", "open_chunks")


class Systems(NamedTuple):
    """The systems that Fieldline works for in the demo."""

    customer: "Databases | Inbox"
    org: "Org"
    ehr: "Ehr"
    sap: "Sap"


@dataclass(frozen=True, slots=True)
class Done:
    """What one flow of the demo did, and the key of a record whose decision is worth a look."""

    flow: str
    run: Mapping[str, Any]
    rows_per_s: float
    key: str


def show_demo(*, leave: bool, rows: int | None) -> None:
    """Runs the demo; raises where it does not end as it should."""
    from fieldline_server.demo import demo_directory, examples_directory
    from fieldline_server.demo_ehr import Ehr
    from fieldline_server.demo_org import Org
    from fieldline_server.demo_sap import Sap
    from fieldline_server.demo_systems import Databases, Inbox, missing_odbc

    begun = time.monotonic()
    examples = examples_directory()
    with ExitStack() as stack:
        directory = stack.enter_context(demo_directory())
        # A fieldline.yaml where the demo was called would be taken for the settings of its processes.
        stack.callback(os.chdir, Path.cwd())
        os.chdir(directory)
        if why := missing_odbc():
            note(f"{why}\ngoing on without it: only the flow that needs no ODBC is run")
        customer = Inbox(examples) if why else Databases(directory / "erp", examples, rows)
        sap = Sap(directory, examples, rows, alone=bool(why))
        systems = Systems(customer, Org(directory, examples, rows), Ehr(directory, examples, rows), sap)
        running = _start(stack, directory, systems, examples)
        note(f"up after {time.monotonic() - begun:.1f} s")
        _run(running, systems, examples)
        note(f"done after {time.monotonic() - begun:.1f} s")
        if not leave:
            note("everything stays up until Ctrl-C")
            running.wait()


def _start(stack: ExitStack, directory: Path, systems: Systems, examples: Path) -> "Running":
    """Fieldline, and the customer's systems beside it, started at the same time."""
    from fieldline_server.demo import demo_settings

    note("starting PostgreSQL, Redis, API, relay and workers, and the systems that they work for")
    settings, env = demo_settings(directory)
    stack.callback(_stop, systems)
    with ThreadPoolExecutor(len(systems)) as pool:
        started = [pool.submit(system.start) for system in systems]
        # Only now: to import this takes as long as the systems take to start.
        from fieldline_core.logs import configure_logs
        from fieldline_server.up import installation

        configure_logs("error")
        up = installation(
            settings, workers=2, env=env, grace_s=_GRACE_S, kept=False,
            meanwhile=lambda at: _import_models(at, examples, systems),
        )  # fmt: skip
        running = stack.enter_context(up)
        for each in started:
            each.result()
    return running


def _stop(systems: Systems) -> None:
    """Ends the customer's systems, all at the same time."""
    with ThreadPoolExecutor(len(systems)) as pool:
        list(pool.map(lambda system: system.stop(), systems))


def _import_models(settings: "Settings", examples: Path, systems: Systems) -> None:
    from fieldline_server.cli.session import engine
    from fieldline_server.demo import import_models

    with engine(settings) as opened:
        import_models(opened, examples, systems)


def _run(running: "Running", systems: Systems, examples: Path) -> None:
    from fieldline_server.cli.session import engine

    with engine(running.settings) as opened:
        _run_flows(opened, running, systems, examples)


def _run_flows(opened: "Engine", running: "Running", systems: Systems, examples: Path) -> None:
    from fieldline_server.cli.session import registry
    from fieldline_server.demo import check_store, publish_examples
    from fieldline_server.demo_systems import BIKES

    customer, org, ehr, sap = systems
    ehr.api_url = running.api_url
    publish_examples(opened, registry(opened), systems)
    done = [_run_bikes(opened, customer)] if BIKES in customer.flows else []
    done.append(_run_lab(opened, running, customer, examples))
    asked = _ask_for_runs(opened, sap, org, ehr)
    done += [_run_forecast(opened, sap, asked), _run_leads(opened, org, asked), _run_patients(opened, ehr, asked)]
    more = {**_change_a_lead(org), **_open_a_chart(ehr), "SAP and its planning table": sap.url}
    check_store(opened)
    _show(opened, running, done, more)


def _run_bikes(opened: "Engine", systems: "Databases | Inbox") -> Done:
    from fieldline_core.batch import key_text
    from fieldline_server.demo_systems import BIKES

    note(f"{BIKES}: {systems.records:,} rows of the ERP are read over ODBC, scored, and the forecast is written back")
    return _ended(opened, BIKES, systems, key_text(["1", "17"]), _ask_for_runs(opened, systems)[BIKES])


def _ask_for_runs(opened: "Engine", *systems: "System") -> Mapping[str, int]:
    """Runs of what these systems hold, by flow; they go on at the same time."""
    from fieldline_core.pipeline.manage import request_run
    from fieldline_server.demo import ACTOR
    from fieldline_server.demo_systems import LAB

    return {flow: request_run(opened, flow, ACTOR) for system in systems for flow in system.flows if flow != LAB}


def _run_forecast(opened: "Engine", sap: "Sap", asked: Mapping[str, int]) -> Done:
    from fieldline_core.batch import key_text
    from fieldline_server.demo_sap import FORECAST

    note(f"{FORECAST}: {sap.records:,} hours of a simulated SAP system get the same forecast over OData, in the planning table")
    return _ended(opened, FORECAST, sap, key_text(["RENTAL-BIKE", "1", "17"]), asked[FORECAST])


def _run_lab(opened: "Engine", running: "Running", systems: "Databases | Inbox", examples: Path) -> Done:
    from fieldline_server.demo import CountsDiffer, check_counts
    from fieldline_server.demo_systems import LAB
    from fieldline_simulators.webhook_sender import send_all

    events = (examples / LAB / "events.ndjson").read_bytes().splitlines()
    note(f"{LAB}: {len(events)} signed events are posted, scored, and the reading queue is written")
    begun = time.monotonic()
    statuses = send_all(f"{running.api_url}/hooks/{LAB}", "standard", systems.lab_secret, events)
    if set(statuses) != {202}:
        raise CountsDiffer(f"{LAB}: of {len(events)} events not all were accepted, by status: {statuses}")
    while (run := _events_run(opened))["rows"] < len(events) or run["open_chunks"]:
        if time.monotonic() - begun > _EVENTS_WITHIN_S:
            raise CountsDiffer(f"{LAB}: after {_EVENTS_WITHIN_S:g} s only this was done: {run}")
        time.sleep(0.05)
    check_counts(LAB, run, len(events), systems.written(LAB))
    return Done(LAB, run, len(events) / (time.monotonic() - begun), "wdbc-000")


def _run_leads(opened: "Engine", org: "Org", asked: Mapping[str, int]) -> Done:
    from fieldline_server.demo_org import LEADS

    note(f"{LEADS}: {org.records:,} open leads of a simulated Salesforce org are read, scored, and get score, tier and reason")
    return _ended(opened, LEADS, org, org.first_lead(), asked[LEADS])


def _run_patients(opened: "Engine", ehr: "Ehr", asked: Mapping[str, int]) -> Done:
    from fieldline_server.demo_ehr import PATIENTS

    note(f"{PATIENTS}: {ehr.records:,} patients of a simulated EHR are read over FHIR, scored, and the answer goes into the charts")
    return _ended(opened, PATIENTS, ehr, ehr.first_patient(), asked[PATIENTS])


def _ended(opened: "Engine", flow: str, system: "System", key: str, run_id: int) -> Done:
    """Waits for a run, and checks that each record has its answer."""
    from fieldline_server.cli.progress import follow_run, rows_per_s
    from fieldline_server.demo import CountsDiffer, check_counts

    run = follow_run(opened, run_id, system.records)
    if run["state"] != "succeeded":
        raise CountsDiffer(f"{flow}: run {run['id']} is {run['state']}: {run['reason'] or 'see above'}")
    check_counts(flow, run, system.records, system.written(flow))
    return Done(flow, run, rows_per_s(run), key)


def _change_a_lead(org: "Org") -> Mapping[str, str]:
    """Changes a lead as a sales person would, waits for its new score, and says how long that took."""
    from fieldline_server.demo import CountsDiffer

    lead = org.first_lead()
    before, begun = org.reason(lead), time.monotonic()
    org.promote(lead)
    while org.reason(lead) == before:
        if time.monotonic() - begun > _EVENTS_WITHIN_S:
            raise CountsDiffer(f"the lead {lead} was changed by hand and not scored again within {_EVENTS_WITHIN_S:g} s")
        time.sleep(0.02)
    return {"org and its leads": org.url, "a lead changed by hand": f"scored again after {time.monotonic() - begun:.1f} s"}


def _open_a_chart(ehr: "Ehr") -> Mapping[str, str]:
    """Opens a chart as a clinician would, and says which card the EHR was answered with."""
    card = ehr.open_chart()
    return {
        "EHR and its charts": ehr.url, "a chart was opened": f"{card.summary} (a card, after {card.elapsed_ms:.0f} ms)",
        "ask for the card": ehr.cards_url,
    }  # fmt: skip


def _events_run(opened: "Engine") -> dict[str, int]:
    """The counts of all standing runs of the flow together."""
    from fieldline_core.pipeline.manage import list_runs
    from fieldline_server.demo_systems import LAB

    runs = list_runs(opened, flow=LAB)
    return {name: sum(run[name] for run in runs) for name in _COUNTS}


def _show(opened: "Engine", running: "Running", done: list[Done], more: Mapping[str, str]) -> None:
    from fieldline_core.search import quoted, search_decisions
    from fieldline_server.cli.decision_view import show_decision
    from fieldline_server.demo import ACTOR

    rows = [
        (each.flow, *(f"{each.run[name]:,}" for name in ("rows", "scored", "written")), f"{_held_back(each.run):,}",
         f"{each.rows_per_s:,.0f}")
        for each in done
    ]  # fmt: skip
    typer.echo()
    show_table(("flow", "rows_read", "scored", "written", "held_back", "rows/s"), rows)
    typer.echo()
    show_decision(search_decisions(opened, f"record:{quoted(done[0].key)}", ACTOR, 1).items[0])
    typer.echo()
    url = running.api_url
    facts = {
        "API": url,
        "OpenAPI": f"{url}/openapi.json",
        "health": f"{url}/health/ready",
        "metrics": f"{url}/metrics",
        "admin key": running.admin_key,
        **more,
        "to look around": f"FIELDLINE_DATA_DIRECTORY={running.settings.data_directory} fieldline runs",
    }
    show_table((), list(facts.items()))


def _held_back(run: Mapping[str, Any]) -> int:
    """The rows of a run that wait for a person, or were left alone."""
    return int(run["held"] + run["refused"] + run["left_alone"] + run["dead"])

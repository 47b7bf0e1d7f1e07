"""The specification as pages for people: one list of sections, rendered as Markdown and as HTML."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fieldline_core.admission import TargetLimits
from fieldline_core.retry import RetryPolicy
from fieldline_server.specification import FeaturePart, Reading, Specification, WritePart

_MEANING = re.compile(r"([\\`*_{}\[\]<>|#~&])")
_TOLD_REPEAT = {
    "native": "the system recognises a repeat itself",
    "ledger": "a ledger in the system notices a repeat",
    "query": "what is there is looked at before it is written again",
    "none": "a repeat after a broken connection may count twice",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, sentences, and a table; `code` are the columns that hold formulas or names."""

    title: str
    words: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    code: frozenset[int] = frozenset()


def markdown(specification: Specification) -> str:
    """The specification in Markdown."""
    return _render("specification.md.j2", specification)


def html(specification: Specification) -> str:
    """The specification as one HTML page that loads nothing."""
    return _render("specification.html.j2", specification)


def as_json(specification: Specification) -> str:
    """The specification as it is."""
    return specification.model_dump_json(indent=2) + "\n"


FORMATS: dict[str, Callable[[Specification], str]] = {"markdown": markdown, "html": html, "json": as_json}


def sections(spec: Specification) -> list[Section]:
    """All that the pages say, in order."""
    parts = (_flow, _systems, _source, _read, _features, _tables, _model, _inputs, _written, _writes, _policies, _retention)
    return [part(spec) for part in parts]


def _flow(spec: Specification) -> Section:
    rows = [
        ("Flow", spec.flow), ("Release", spec.release), ("Trigger", spec.trigger), ("Record's key in the message", spec.record_key),
        ("Mapping", f"{spec.mapping} ({spec.mapping_digest})"), ("Time zone", spec.timezone),
        ("A blank number field is", "0" if spec.blanks == "zero" else "blank"),
        ("Generated", spec.generated_at.strftime("%Y-%m-%d %H:%M:%SZ")),
    ]  # fmt: skip
    about = "Generated from the release that new records are decided by; drafts have no part in it."
    return _section("The flow", ("", ""), (row for row in rows if row[1]), about)


def _systems(spec: Specification) -> Section:
    rows = (
        (each.connection, f"{each.connector}: {each.about}", "; ".join(each.roles), _access(each.access), _limits(each.limits))
        for each in spec.systems
    )
    return _section("Systems", ("Connection", "Connector", "Role", "Access", "Limits of writing"), rows, code={0})


def _access(access: Iterable[Any]) -> str:
    told = (f"{each.setting}{f' ({each.way})' if each.way else ''} from {each.kept_in}" for each in access)
    return "; ".join(told) or "no secret among its settings"


def _limits(limits: TargetLimits) -> str:
    rate = f", {limits.rate_per_s:g} calls a second with bursts of {limits.burst:g}" if limits.rate_per_s else ""
    return f"{limits.concurrency} calls at the same time{rate}"


def _source(spec: Specification) -> Section:
    readings = [
        *([("records", spec.source)] if spec.source else []),
        *((f"{each.name} of each record", each) for each in spec.lookups),
    ]
    rows = ((what, each.connection, each.entity, _terms(each)) for what, each in readings)
    words = () if spec.source else ("The message itself is the record.",)
    return _section("What is read", ("What", "Connection", "Entity", "Query"), rows, *words, code={1, 3})


def _terms(each: Reading | WritePart) -> str:
    terms = json.dumps(each.terms, ensure_ascii=False, sort_keys=True)
    return f"{terms}, found by {each.by}" if isinstance(each, Reading) and each.by else terms


def _read(spec: Specification) -> Section:
    rows = ((each.field, each.type, ", ".join(each.features), ", ".join(each.fields)) for each in spec.fields_read)
    columns = ("Field", "Type", "Features that need it", "Written fields that need it")
    words = "Besides keys, and fields that are compared before they are overwritten, nothing else of a record is used."
    return _section("Fields read, and why", columns, rows, words, code={0})


def _features(spec: Specification) -> Section:
    rows = (
        (
            str(place),
            f"{each.name} ({each.label})" if each.label else each.name,
            each.type,
            each.formula,
            each.if_blank,
            _rules(each),
        )
        for place, each in enumerate(spec.features, 1)
    )
    return _section("Features", ("", "Feature", "Type", "Field or formula", "Where it is blank", "Rules"), rows, code={3})


def _rules(each: FeaturePart) -> str:
    rules = [
        each.check if each.check != "no check" else "",
        f"given {each.clip}" if each.clip != "not clipped" else "",
        f"{each.encoding}: {', '.join(map(str, each.categories))}; otherwise {each.if_unknown}" if each.categories else "",
    ]
    return "; ".join(rule for rule in rules if rule)


def _tables(spec: Specification) -> Section:
    rows = ((each.name, f"{each.rows:,}", each.digest) for each in spec.tables)
    return _section("Lookup tables", ("Table", "Rows", "SHA-256"), rows, *(() if spec.tables else ("None.",)), code={0, 2})


def _model(spec: Specification) -> Section:
    model = spec.model
    words = f"{model.name}, version {model.version}, on {model.device}; digest {model.digest}."
    both = (("takes", model.signature.inputs), ("gives", model.signature.outputs))
    rows = (
        (way, each.name, each.dtype, " by ".join("?" if size is None else str(size) for size in each.shape))
        for way, tensors in both
        for each in tensors
    )
    return _section("The model", ("", "Name", "Type", "Shape, rows first"), rows, words, code={1})


def _inputs(spec: Specification) -> Section:
    rows = ((each.name, each.dtype, ", ".join(each.columns)) for each in spec.inputs)
    return _section("How features fill the model's inputs", ("Input", "Type", "Filled with, in order"), rows, code={0})


def _written(spec: Specification) -> Section:
    rows = (
        (each.name, each.type, each.formula, ", ".join(each.goes_to) or "nowhere: kept with the decision", ", ".join(each.reads))
        for each in spec.fields_written
    )
    return _section("Fields written", ("Field", "Type", "Formula", "Goes to", "Depends on"), rows, code={0, 2})


def _writes(spec: Specification) -> Section:
    rows = (
        (each.name, each.connection, each.entity, _terms(each), _repeat(each.dedupe), _retry(each.retry)) for each in spec.writes
    )
    columns = ("Step", "Connection", "Entity", "Operation", "Repeats", "Tried again")
    words = () if spec.writes else ("Nothing is written: decisions are kept only.",)
    return _section("Write steps", columns, rows, *words, code={0, 3})


def _repeat(dedupe: str | None) -> str:
    return f"{dedupe}: {_TOLD_REPEAT[dedupe]}" if dedupe else "not known: the system could not be asked"


def _retry(policy: RetryPolicy) -> str:
    waits = ", ".join(f"{wait:g}" for wait in policy.delays_s)
    how = f"after {waits} s" if waits else f"after growing waits from {policy.first_s:g} s to {policy.longest_s:g} s"
    return f"{policy.max_attempts} attempts in all, {how}"


def _policies(spec: Specification) -> Section:
    guard = spec.guards.max_changed_per_hour
    rows = [
        ("Reading and scoring are tried again", _retry(spec.retry)),
        ("Rows that may be written in an hour", f"{guard:,}; beyond it the flow pauses" if guard else "no bound"),
    ]
    return _section("Policies", ("Policy", "Value"), rows)


def _retention(spec: Specification) -> Section:
    rows = ((each.what, "for good" if each.days is None else f"{each.days} days") for each in spec.retention)
    return _section("How long things are kept", ("What", "How long"), rows)


def _section(
    title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], *words: str, code: Iterable[int] = ()
) -> Section:
    return Section(title, words, columns, tuple(rows), frozenset(code))


def _render(template: str, spec: Specification) -> str:
    title = f"Integration specification: {spec.flow}"
    return _environment().get_template(template).render(title=title, sections=sections(spec)).strip() + "\n"


@cache
def _environment() -> Environment:
    # In Markdown every value goes through one of the two filters; in HTML all is escaped.
    made = Environment(loader=PackageLoader("fieldline_server"), autoescape=select_autoescape(("html.j2",)),
                       undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    made.filters |= {"text": _text, "code": _code}
    return made


def _text(value: str) -> str:
    """Text that means nothing to Markdown, on one line."""
    return _MEANING.sub(r"\\\1", " ".join(value.split()))


def _code(value: str) -> str:
    """Text as code in a cell of a table."""
    line = " ".join(value.split()).replace("|", "\\|")
    if not line:
        return ""
    fence = "`" * (1 + max((len(ticks) for ticks in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"

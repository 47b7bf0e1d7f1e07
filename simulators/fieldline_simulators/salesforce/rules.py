"""Validation rules, written as the WHERE clause of a query that finds what is wrong."""

from functools import lru_cache

from fieldline_simulators.salesforce.access import Access
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.org import Org, Rule
from fieldline_simulators.salesforce.schema import Row, SObject
from fieldline_simulators.salesforce.soql_filter import Scope, Test, compile_condition
from fieldline_simulators.salesforce.soql_syntax import Condition, parse_query


def read_rule(org: Org, rule: Rule) -> None:
    """Raises what is wrong with the condition of a rule."""
    compile_condition(Scope(org, Access(), org.kind(rule.object)), _condition(rule.condition))


def check_rules(org: Org, kind: SObject, row: Row) -> None:
    """Raises for the first rule that a record breaks."""
    for rule in org.rules:
        if rule.object != kind.name:
            continue
        if _test(org, kind, rule.condition)(row):
            raise ApiError("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, [rule.field] if rule.field else [])


def _test(org: Org, kind: SObject, condition: str) -> Test:
    """The condition compiled, once for each day: TODAY is another one tomorrow."""
    key = (kind.name, condition, org.now().date())
    if key not in org.rule_tests:
        org.rule_tests[key] = compile_condition(Scope(org, Access(), kind), _condition(condition))
    return org.rule_tests[key]


@lru_cache(maxsize=256)
def _condition(text: str) -> Condition:
    where = parse_query(f"SELECT Id FROM Rule WHERE {text}").where  # noqa: S608 (of an org in memory)
    if where is None:
        raise ValueError("a rule has a condition")
    return where

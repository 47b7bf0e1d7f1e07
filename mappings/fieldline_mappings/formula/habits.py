"""What people write by habit from Excel, SQL and Salesforce's triggers, and what is written here instead."""

_BLANK = "Write BLANKVALUE(value, otherwise)."
_JOIN = "Join texts with &: a & b."
_LOOKUP = 'Write LOOKUP("table", key); the table stands under `tables`.'
_COUNT = "Write COUNT(list, condition)."
_DAYS = "Write one date minus the other, or DAYS_SINCE(date)."
_IFERROR = "Write IFERROR(value, otherwise)."
_LATEST = "Write LATEST(list.field, list.date)."
_NOW_ONLY = "A mapping sees the record as it is now, not what changed in it."
_ROUND = "Write CEILING, FLOOR, ROUND or TRUNC."
_SUM = "Write SUM(list.number, condition)."
_SUBSTITUTE = "Write SUBSTITUTE(text, old, new)."
_TODAY = "Write TODAY()."

INSTEAD: dict[str, str] = {
    "AVERAGE": "Write AVG(list.number), or (a + b) / 2 of single values.", "AVERAGEIF": "Write AVG(list.number, condition).",
    "AVERAGEIFS": "Write AVG(list.number, condition).", "CHAR": "Write CHR(number).", "COALESCE": _BLANK, "CONCAT": _JOIN,
    "CONCATENATE": _JOIN, "COUNTA": _COUNT, "COUNTIF": _COUNT, "COUNTIFS": _COUNT, "CURDATE": _TODAY, "CURRENT_DATE": _TODAY,
    "DATEADD": "Write date + days, or ADDMONTHS(date, months).", "DATEDIF": _DAYS, "DATEDIFF": _DAYS, "DAYS": _DAYS,
    "DECODE": "Write CASE(value, a, then, otherwise).", "EDATE": "Write ADDMONTHS(date, months).", "GETDATE": _TODAY,
    "HLOOKUP": _LOOKUP, "IFBLANK": _BLANK, "IFNA": _IFERROR, "IFNULL": _BLANK, "IIF": "Write IF(condition, then, else).",
    "INDEX": _LOOKUP, "INSTR": "Write FIND(part, text).", "INT": "Write FLOOR(number).", "ISCHANGED": _NOW_ONLY,
    "ISCLONE": _NOW_ONLY, "ISEMPTY": "Write ISBLANK(value).", "ISERR": _IFERROR, "ISERROR": _IFERROR, "ISNEW": _NOW_ONLY,
    "LAST": _LATEST, "LCASE": "Write LOWER(text).", "LENGTH": "Write LEN(text).", "LOG10": "Write LOG(number).",
    "MATCH": _LOOKUP, "MEAN": "Write AVG(list.number), or (a + b) / 2 of single values.", "NVL": _BLANK, "POW": "Write a ^ b.",
    "POWER": "Write a ^ b.", "PRIORVALUE": _NOW_ONLY, "PROPER": "Write INITCAP(text).", "REPLACE": _SUBSTITUTE, "ROUNDDOWN": _ROUND,
    "ROUNDUP": _ROUND, "SEARCH": "Write FIND(part, text), or CONTAINS(text, part).", "STARTSWITH": "Write BEGINS(text, start).",
    "STDEV": "Write STDDEV(list.number).", "STR": "Write TEXT(value).", "SUBSTRING": "Write MID(text, start, length).",
    "SUMIF": _SUM, "SUMIFS": _SUM, "SUMPRODUCT": _SUM, "SWITCH": "Write CASE(value, a, then, otherwise).", "SYSDATE": _TODAY,
    "UCASE": "Write UPPER(text).", "VLOOKUP": _LOOKUP, "XLOOKUP": _LOOKUP, "XOR": "Write a <> b.",
}  # fmt: skip
"""Names of functions that are not here, each with what to do."""

BETWEEN_VALUES: dict[str, str] = {
    "AND": "Write a && b, or AND(a, b).", "BETWEEN": "Write a >= low && a <= high.", "DIV": "Write FLOOR(a / b).",
    "IN": "Write IN(value, a, b).", "IS": "Write ISBLANK(value), or value = other.", "LIKE": "Write LIKE(text, pattern).",
    "MOD": "Write MOD(a, b).", "NOT": "Write NOT(…) around what is denied.", "OR": "Write a || b, or OR(a, b).",
    "THEN": "Write IF(condition, then, else).", "XOR": "Write a <> b.",
}  # fmt: skip
"""Words that stand between two values in other languages."""

SIGNS: dict[str, str] = {"=>": ">=", "=<": "<=", "><": "<>", "===": "=", "!==": "<>", "**": "^", "=!": "<>", "&&&": "&&"}
"""Operators of other languages, and those that are meant."""

__all__ = ["BETWEEN_VALUES", "INSTEAD", "SIGNS"]

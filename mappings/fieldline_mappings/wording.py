"""The rules of a feature in words, as people read them in differences and specifications."""

from fieldline_mappings.document import Feature


def value_words(value: object) -> str:
    """A value as it is written: texts in quotes, numbers without needless digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return f"'{value}'" if isinstance(value, str) else str(value)


def blank_words(feature: Feature) -> str:
    """What a blank value does."""
    match feature.if_blank:
        case "hold":
            return "its row is set aside"
        case "flag":
            return "it is flagged"
        case fill:
            return f"it is taken as {value_words(fill)}"


def unknown_words(feature: Feature) -> str:
    """What a value outside the categories does."""
    return "its row is set aside" if feature.if_unknown == "hold" else "it counts as none of them"


def check_words(feature: Feature) -> str:
    """What the value must meet."""
    check = feature.check
    parts = [
        f"at least {value_words(check.at_least)}" if check.at_least is not None else "",
        f"at most {value_words(check.at_most)}" if check.at_most is not None else "",
        f"one of {', '.join(sorted(value_words(each) for each in check.one_of))}" if check.one_of else "",
        f"at most {check.max_length} characters" if check.max_length else "",
    ]
    return ", ".join(part for part in parts if part) or "no check"


def clip_words(feature: Feature) -> str:
    """Which numbers the model can be given."""
    return f"between {value_words(feature.clip[0])} and {value_words(feature.clip[1])}" if feature.clip else "not clipped"


__all__ = ["blank_words", "check_words", "clip_words", "unknown_words", "value_words"]

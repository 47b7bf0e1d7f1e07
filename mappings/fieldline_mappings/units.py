"""Units of labs and vital signs by their UCUM codes, and the exact conversion from one to another.

A closed list: what is not here converts to nothing, so that a value in an unknown unit is held back and never guessed. Mass and
amount of substance do not convert into each other, nor do equivalents and moles: that depends on the substance. A remark in
braces is a unit of its own (`mL/min/{1.73_m2}` is no `mL/min`), except where it only names what is counted.
"""

import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from typing import NamedTuple

_ATOMS = """
g g 1|m m 1|s s 1|K K 1|mol mol 1|eq eq 1|osm osm 1|[IU] IU 1|[iU] IU 1|[pH] pH 1|L m3 1/1000|l m3 1/1000|% 1 1/100|min s 60
h s 3600|d s 86400|wk s 604800|mo s 2629800|a s 31557600|Hz /s 1|N g.m/s2 1000|Pa g/m/s2 1000|bar g/m/s2 100000000
J g.m2/s2 1000|W g.m2/s3 1000|cal g.m2/s2 4184|m[Hg] g/m/s2 133322000|m[H2O] g/m/s2 9806650|kat mol/s 1|U mol/s 1/60000000
[lb_av] g 45359237/100000|[oz_av] g 45359237/1600000|[stone_av] g 635029318/100000|[in_i] m 127/5000|[ft_i] m 381/1250
[foz_us] m3 473176473/16000000000000|Cel K 1|[degF] K 5/9|1 1 1
"""
_SHIFTS = {"Cel": Fraction("273.15"), "[degF]": Fraction("459.67")}
_PREFIXES = {"k": 3, "h": 2, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "M": 6}
_PREFIXED = {
    "g",
    "m",
    "s",
    "mol",
    "eq",
    "osm",
    "[IU]",
    "[iU]",
    "L",
    "l",
    "Pa",
    "bar",
    "J",
    "W",
    "cal",
    "m[Hg]",
    "m[H2O]",
    "kat",
    "U",
}
_COUNTED = {"{beats}", "{breaths}", "{cells}", "{copies}", "{count}"}
_COMPONENT = re.compile(
    r"(?P<remark>\{[^{}]*\})|(?P<power>10[*^])(?P<tens>-?\d+)|(?P<atom>1|%|[A-Za-z]*\[[^\[\]]+\]|[A-Za-z]+)(?P<exponent>-?\d+)?"
)
_CODES = """
1 % {score} {T-score} {Z-score} {INR} {ratio} [pH] 10*3 10*6 10*9 10*12
kg g mg ug ng pg fg [lb_av] [oz_av] [stone_av]
m cm mm um nm km [in_i] [ft_i] m2 cm2 mm2 kg/m2 g/m2
L dL cL mL uL nL pL fL l dl ml ul fl m3 dm3 cm3 mm3 [foz_us]
s ms min h d wk mo a Hz /s /min /h /d {beats}/min {breaths}/min
Cel K [degF]
mm[Hg] cm[H2O] Pa hPa kPa MPa bar mbar
J kJ cal kcal W kW kcal/d kJ/d
mol mmol umol nmol pmol mol/L mmol/L umol/L nmol/L pmol/L fmol/L mmol/mol umol/mol mmol/kg mol/kg mmol/d umol/d mmol/(24.h) umol/g
umol/mmol mg/mmol g/mol mg/mol ug/mmol umol/min nmol/min
kg/L g/L mg/L ug/L ng/L pg/L kg/m3 g/dL mg/dL ug/dL ng/dL pg/dL g/mL mg/mL ug/mL ng/mL pg/mL fg/mL ng/uL pg/uL g/kg mg/kg ug/kg
ng/kg mg/g ug/g ng/g ng/mg ug/mg mg/mg g/g g/d mg/d ug/d mg/h ug/h ng/h ug/min ng/min mg/min ug/kg/min mg/kg/h mg/kg/d
eq meq eq/L meq/L ueq/L meq/mL meq/kg meq/d osm mosm mosm/kg mosm/L osm/kg
U kU mU uU U/L kU/L mU/L U/mL mU/mL uU/mL U/g U/dL kat ukat nkat kat/L ukat/L nkat/L
[IU] [iU] k[IU] m[IU] u[IU] [IU]/L [iU]/L k[IU]/L k[iU]/L m[IU]/L m[iU]/L [IU]/mL [iU]/mL m[IU]/mL m[iU]/mL u[IU]/mL u[iU]/mL
[IU]/dL [IU]/h [IU]/d [IU]/kg k[IU]/mL
10*3/uL 10*6/uL 10*9/L 10*12/L 10*6/L 10*3/mL 10*6/mL 10*3/L /uL /mL /L {cells}/uL {count}/uL {copies}/mL 10*3/mm3 10*6/mm3 /mm3
mL/min L/min mL/s L/s mL/h L/h mL/d L/d mL/kg/h mL/kg/min mL/min/kg mL/min/{1.73_m2} mL/min/m2 L/min/m2 mL/kg mL/m2 m/s cm/s mm/h
cm/h km/h mm/s
"""


class Unit(NamedTuple):
    """A unit: its dimensions, and how a number in it becomes one in base units: `(number + shift) * factor`."""

    dimensions: tuple[tuple[str, int], ...]
    factor: Fraction
    shift: Fraction = Fraction(0)


class Conversion(NamedTuple):
    """What makes a number in one unit one in another: `number * times / over + plus`."""

    times: float
    over: float
    plus: float


@cache
def codes() -> dict[str, Unit]:
    """All units by their UCUM codes."""
    return {code: _unit(code) for code in _CODES.split()}


def conversions(wanted: str) -> dict[str, Conversion]:
    """How numbers in other units become numbers in this one, by the others' codes; KeyError where it is not in the list."""
    target = codes()[wanted]
    return {code: _between(unit, target) for code, unit in codes().items() if unit.dimensions == target.dimensions}


def _between(unit: Unit, target: Unit) -> Conversion:
    ratio = unit.factor / target.factor
    return Conversion(float(ratio.numerator), float(ratio.denominator), float(unit.shift * ratio - target.shift))


@cache
def _atoms() -> dict[str, Unit]:
    found: dict[str, Unit] = {}
    for line in re.split(r"[|\n]", _ATOMS.strip()):
        name, base, factor = line.split(" ")
        parts = re.findall(r"([./]?)([A-Za-z]+)(\d*)", base)
        powers = [(letters, int(power or 1) * (-1 if sign == "/" else 1)) for sign, letters, power in parts]
        found[name] = Unit(_dimensions(powers), Fraction(factor), _SHIFTS.get(name, Fraction(0)))
    return found


def _dimensions(powers: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """The powers of each base unit above and below the line. They are not reduced: `mg/g` and `mmol/mol` are two kinds of share."""
    above, below = Counter[str](), Counter[str]()
    for name, power in powers:
        (above if power > 0 else below)[name] += power
    return (*sorted(above.items()), *sorted(below.items()))


def _unit(code: str) -> Unit:
    code = code.replace("(24.h)", "d")
    if code in _SHIFTS:
        return _atoms()[code]
    powers: list[tuple[str, int]] = []
    factor = Fraction(1)
    for sign, text in re.findall(r"(^|[./])((?:\{[^{}]*\}|\[[^\[\]]+\]|[^./{}\[\]])+)", code):
        direction = -1 if sign == "/" else 1
        for found in _COMPONENT.finditer(text):
            part = _component(found)
            factor *= part.factor**direction
            powers += [(name, power * direction) for name, power in part.dimensions]
    return Unit(_dimensions(powers), factor)


def _component(found: re.Match[str]) -> Unit:
    if remark := found["remark"]:
        return Unit(() if remark in _COUNTED else ((remark, 1),), Fraction(1))
    if found["power"]:
        return Unit((), Fraction(10) ** int(found["tens"]))
    atom, exponent = _atom(found["atom"]), int(found["exponent"] or 1)
    return Unit(tuple((name, power * exponent) for name, power in atom.dimensions), atom.factor**exponent)


def _atom(name: str) -> Unit:
    if name in _atoms():
        return _atoms()[name]
    prefix, rest = name[:1], name[1:]
    if rest not in _PREFIXED:
        raise ValueError(f"{name} is no unit")
    unit = _atoms()[rest]
    return Unit(unit.dimensions, unit.factor * Fraction(10) ** _PREFIXES[prefix])

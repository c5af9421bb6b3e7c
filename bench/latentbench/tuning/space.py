"""The search space: what Optuna is asked for, which settings are legal, and how a setting becomes a run spec. Pure.

Conditions are followed in the order of dependence, so a parameter is only suggested when those that it hangs on have their
values; a flat space with ignored dimensions would let a sampler learn from numbers that changed nothing.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel.config import read_yaml, validate
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.tuning.tune_spec import HELD_OUT, SPLIT, Parameter, Scalar, Settings, TuneSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

_GONE = object()
"""What a hole becomes whose parameter is not active."""

Space = Mapping[str, Parameter]


def ordered(space: Space) -> list[str]:
    """Names, each after those that it depends on.

    Raises:
        SpecError: parameters that depend on each other.
    """
    done: list[str] = []
    waiting = list(space)
    while waiting:
        ready = [name for name in waiting if all(parent in done for parent in space[name].when)]
        if not ready:
            raise SpecError(f"space: the parameters {', '.join(waiting)} depend on each other in a circle.")
        done += ready
        waiting = [name for name in waiting if name not in ready]
    return done


def active(space: Space, name: str, settings: Mapping[str, Scalar]) -> bool:
    """Whether a parameter has a value under settings that hold everything it depends on."""
    return all(p in settings and _is_in(settings[p], allowed) for p, allowed in space[name].when.items())


def _is_in(value: Scalar, allowed: list[Scalar]) -> bool:
    # 1 == True in Python; in a spec they are two values.
    return any(value == a and isinstance(value, bool) == isinstance(a, bool) for a in allowed)


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return the Optuna distribution of a parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is not None:
        return CategoricalDistribution(parameter.names)
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high), parameter.log, int(parameter.step or 1))
    return FloatDistribution(float(parameter.low), float(parameter.high), parameter.log, parameter.step)


def suggest(trial: Trial, space: Space) -> Settings:
    """Ask Optuna for every active parameter."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    settings: Settings = {}
    for name in ordered(space):
        if not active(space, name, settings):
            continue
        d: Any = distribution(space[name])
        if isinstance(d, CategoricalDistribution):
            settings[name] = trial.suggest_categorical(name, d.choices)
        elif isinstance(d, IntDistribution):
            settings[name] = trial.suggest_int(name, d.low, d.high, step=d.step, log=d.log)
        else:
            settings[name] = trial.suggest_float(name, d.low, d.high, step=d.step, log=d.log)
    return settings


def check_settings(space: Space, given: Mapping[str, Scalar], what: str) -> None:
    """Refuse a setting that is not a point of the space.

    Raises:
        SpecError: a missing, inactive or unknown parameter, or a value outside its range.
    """
    for name in given:
        if name not in space:
            raise UnknownName(f"parameter in {what}", name, space)
    for name in ordered(space):
        if not active(space, name, given):
            if name in given:
                raise SpecError(f"{what}: {name!r} is not active under the other values; leave it out.")
            continue
        if name not in given:
            raise SpecError(f"{what}: {name!r} needs a value.")
        parameter, value = space[name], given[name]
        if parameter.values is not None:
            if not _is_in(value, parameter.names):
                raise UnknownName(f"value of {name!r} in {what}", str(value), map(str, parameter.names))
        elif isinstance(value, bool | str | None) or not _in_range(parameter, value):
            raise SpecError(f"{what}: {name}: {value!r} is not a step between {parameter.low} and {parameter.high}.")


def _in_range(parameter: Parameter, value: float) -> bool:
    assert parameter.low is not None
    assert parameter.high is not None
    if not parameter.low <= value <= parameter.high or (parameter.whole and value != int(value)):
        return False
    if parameter.step is None:
        return True
    steps = (value - parameter.low) / parameter.step
    return math.isclose(steps, round(steps), abs_tol=1e-9)


def check_space(spec: TuneSpec) -> None:
    """Refuse a space, hole or named setting that cannot work.

    Raises:
        SpecError: see the message.
    """
    for name, parameter in spec.space.items():
        for parent, allowed in parameter.when.items():
            if parent not in spec.space:
                raise UnknownName(f"parameter that {name!r} depends on", parent, spec.space)
            names = spec.space[parent].names
            for value in allowed:
                if spec.space[parent].values is not None and not _is_in(value, names):
                    raise UnknownName(f"value of {parent!r} that {name!r} depends on", str(value), map(str, names))
    ordered(spec.space)
    inside = {name: set(holes(p.values)) if isinstance(p.values, dict) else set() for name, p in spec.space.items()}
    found = set(holes(spec.run)).union(*inside.values())
    for name in sorted(found - set(spec.space)):
        raise UnknownName("hole in `run`", name, spec.space)
    waiting = dict(inside)
    while waiting:
        ready = [name for name, within in waiting.items() if not within & set(waiting)]
        if not ready:
            raise SpecError(f"space: the values of {', '.join(waiting)} contain each other.")
        for name in ready:
            del waiting[name]
    for name in spec.space:
        if name not in found:
            raise SpecError(f"parameter {name!r} stands nowhere in `run`: write ${name} where it belongs.")
    check_settings(spec.space, spec.default, "default")
    for name, settings in spec.enqueue.items():
        check_settings(spec.space, settings, f"enqueue {name!r}")


def holes(value: Any) -> Iterator[str]:
    """Names of all holes in a piece of a run spec."""
    if isinstance(value, dict):
        for key, v in value.items():
            yield from holes(key)
            yield from holes(v)
    elif isinstance(value, list):
        for v in value:
            yield from holes(v)
    elif isinstance(value, str):
        template = string.Template(value)
        if not template.is_valid():
            raise SpecError(f"run: {value!r}: a hole is $name or ${{name}}; write $$ for a dollar sign.")
        yield from template.get_identifiers()


def fill(value: Any, space: Space, settings: Mapping[str, Scalar]) -> Any:
    """A piece of a run spec with its holes filled.

    A hole that is the whole text gets the value with its type, and the holes of that are filled as well; one inside a text gets
    it as text. A key or list entry whose hole's parameter is not active is left out.
    """
    filled = _fill(value, space, settings)
    return None if filled is _GONE else filled


def _fill(value: Any, space: Space, settings: Mapping[str, Scalar]) -> Any:
    if isinstance(value, dict):
        found = {k: _fill(v, space, settings) for k, v in value.items()}
        return {k: v for k, v in found.items() if v is not _GONE}
    if isinstance(value, list):
        return [v for v in (_fill(v, space, settings) for v in value) if v is not _GONE]
    if not isinstance(value, str):
        return value
    template = string.Template(value)
    names = template.get_identifiers()
    if any(name not in settings for name in names):
        return _GONE
    if len(names) == 1 and value in (f"${names[0]}", f"${{{names[0]}}}"):
        parameter = space[names[0]]
        found = chosen(parameter, settings[names[0]])
        # A value that is a piece of a spec may have holes of its own.
        return _fill(found, space, settings) if isinstance(parameter.values, dict) else found
    return template.substitute({name: _text(chosen(space[name], settings[name])) for name in names})


def chosen(parameter: Parameter, value: Scalar) -> Any:
    """What a setting's value stands for."""
    return parameter.values[str(value)] if isinstance(parameter.values, dict) else value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def run_spec(spec: TuneSpec, settings: Mapping[str, Scalar], held_out: bool = False) -> dict[str, Any]:
    """The run of a setting, as data for `RunSpec`."""
    found: dict[str, Any] = fill(spec.run, spec.space, settings)
    found = {"name": spec.name, "split": HELD_OUT if held_out else SPLIT, **found}
    if held_out:
        found |= {"repeats": spec.holdout.repeats}
        if spec.holdout.limit is not None:
            found["limit"] = spec.holdout.limit
        else:
            found.pop("limit", None)
    return found


def grid(space: Space) -> dict[str, list[Scalar]]:
    """Every value of every parameter.

    Raises:
        SpecError: a parameter with infinitely many.
    """
    found: dict[str, list[Scalar]] = {}
    for name, p in space.items():
        if p.values is not None:
            found[name] = p.names
            continue
        assert p.low is not None
        assert p.high is not None
        if (p.log and not p.whole) or (p.step is None and not p.whole):
            raise SpecError(f"space: {name!r} has no `step`, so there is no grid over it.")
        step = p.step or 1
        found[name] = [p.low + i * step for i in range(math.floor((p.high - p.low) / step + 1e-9) + 1)]
    return found


def load_tune_spec(path: Path) -> TuneSpec:
    """Read and validate a tuning spec, its space, its default and its enqueued settings.

    Raises:
        SpecError: a key, value, hole or setting that does not fit; the message has the near names.
    """
    spec = validate(TuneSpec, read_yaml(path), str(path))
    try:
        check_space(spec)
    except SpecError as e:
        raise SpecError(f"{path}: {e}") from e
    return spec

"""A scenario: which devices, on what network, learning what, under which attacks and mishaps. A TOML file.

Every key has a default, so a scenario says only what is special about it; an unknown key is an error that names the
nearest known one. Times are virtual seconds. Scenarios that ship with Banyan stand in ``simulations/scenarios``.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from banyan.security.charter import Preset, preset
from banyan.security.errors import BanyanError
from banyan.security.schema import SchemaError, from_plain, to_plain
from banyan.simulations.faults import Fault, Seconds, Section, Span
from banyan.simulations.world import fast_preset

__all__ = [
    "Scenario",
    "ScenarioError",
    "load",
    "shipped",
]

Arm = Literal["as-is", "no-attack", "plain-mean"]


class ScenarioError(BanyanError):
    """A scenario cannot be read, or asks for what cannot be."""


class LinkConditions(Section):
    """``[network]``: how links behave."""

    latency: tuple[Annotated[int, Field(ge=1, le=60_000)], Annotated[int, Field(ge=1, le=60_000)]] = (5, 40)
    """ms one way: each message takes a time from this range."""
    distance: Annotated[int, Field(ge=0, le=60_000)] = 0
    """ms: each device lies up to this far from the middle of the network, through which all messages go."""
    apart: Annotated[int, Field(ge=0, le=60_000)] = 0
    """ms more between devices of different subtrees of the root."""
    jitter: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    """ms: mean of what is added to each message, exponentially distributed, so that some take very long."""
    loss: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Share of messages that never arrive."""
    duplication: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Share of messages that arrive twice."""
    reordering: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Share of messages that are held back for up to a second, so that later ones overtake them."""
    rate: Annotated[float, Field(gt=0, le=1e9)] = 10_000.0
    """kB/s of a device's uplink, shared by all it sends."""


class SmallDevices(Section):
    """``[small]``: devices that train only the first columns of B."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of all devices, drawn by the seed."""
    rank: Annotated[int, Field(ge=1, le=1_023)] = 1
    """Columns that they train; the task's adapter has more."""


class TaskChoice(BaseModel):
    """``[task]``: what the devices learn; keys beside ``name`` go to the task."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = "quadratic"

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Attackers(BaseModel):
    """``[[attackers]]``: ``count`` devices, of ``branch`` or drawn from all, do this. Other keys go to the attack."""

    model_config = ConfigDict(extra="allow", frozen=True)
    attack: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """One attack for all of them, or several from which each draws its own."""
    count: Annotated[int, Field(ge=1, le=100_000)] = 1
    branch: str | None = None
    devices: tuple[str, ...] = ()
    """These very devices, such as ``/#3``, instead of a count."""

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Scenario(Section):
    """One experiment, without its seed."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    about: Annotated[str, Field(min_length=1, max_length=200)]
    """One sentence for people."""
    tree: Annotated[dict[str, Annotated[int, Field(ge=0, le=100_000)]], Field(min_length=1)]
    """Devices by branch. A branch with none lives on what its children send up."""
    rounds: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Releases that every branch is to reach; with gossip, steps of every device."""
    limit: Seconds = 3_600.0
    """Virtual seconds after which the run is over, whatever it reached."""
    settle: Seconds = 120.0
    """Virtual seconds after the last mishap within which all live honest devices must agree again."""
    training: Span = (0.5, 1.5)
    """Seconds that a device trains for one round: each draws its own once."""
    preset: Literal["local", "lan", "wan"] = "local"
    policies: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Dials of the charter that differ from the preset, by its sections round, committee, gossip and limits. Times
    there are milliseconds. The preset ``local`` has a deadline of 20 s and a leader time-out of 3 s here."""
    pinned: tuple[str, ...] = ()
    """Devices that always sit on the committee, such as ``/#0``."""
    admission: Literal["invite", "open"] = "invite"
    guests: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Of each branch's devices the last so many come uninvited, which takes an open network."""
    small: SmallDevices | None = None
    """Devices of a lower rank than the adapter's, if there are any."""
    graph: Literal["everyone", "dumbbell"] = "everyone"
    """Who may mix with whom without a committee: everyone, or two cliques of equal size and one bridge, from the last
    device of the first to the first of the second."""
    network: LinkConditions = LinkConditions()
    task: TaskChoice = TaskChoice()
    judged_on: Literal["own", "all"] = "own"
    """Whose held-out rows a model is scored on: each honest device's own, or those of the whole task."""
    attackers: tuple[Attackers, ...] = ()
    faults: tuple[Fault, ...] = ()
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = ("as-is",)
    """What is run beside it with the same seed: everybody honest, or undefended."""
    signatures: Literal["auto", "ed25519", "fast"] = "auto"
    """``auto``: real Ed25519 up to 1,000 devices, a fast stand-in above. The report names it."""
    held_limit: Annotated[float, Field(gt=0)] = 64.0
    """MB of records and blobs that no device may exceed."""
    traffic_limit: Annotated[float, Field(gt=0)] = 4.0
    """MB of messages a round that no honest device may exceed on average."""

    @field_validator("tree")
    @classmethod
    def _has_parents(cls, tree: dict[str, int]) -> dict[str, int]:
        for path in tree:
            if not path.startswith("/") or (path != "/" and path.endswith("/")):
                raise ValueError(f"a branch is a path such as /en/medical, not {path!r}")
        if not sum(tree.values()):
            raise ValueError("there are no devices")
        return tree

    @model_validator(mode="after")
    def _fits_together(self) -> Scenario:
        self.charter_policies()
        for wanted in (*self.attackers, *(f for f in self.faults if hasattr(f, "branch"))):
            branch = getattr(wanted, "branch", None)
            if branch is not None and branch not in self.tree:
                raise ValueError(f"there is no branch {branch!r} in the tree: {', '.join(sorted(self.tree))}")
        attackers = sum(len(each.devices) or each.count for each in self.attackers)
        if self.guests and self.admission != "open":
            raise ValueError('guests need admission = "open": by invitation they are refused')
        if attackers >= self.devices:
            raise ValueError(f"{attackers} attackers among {self.devices} devices leave nobody honest")
        return self

    @property
    def devices(self) -> int:
        return sum(self.tree.values())

    def charter_policies(self) -> Preset:
        """The charter's dials. Raises ValueError for one that does not exist or is out of bounds."""
        given: dict[str, Any] = dict(
            to_plain(fast_preset() if self.preset == "local" else preset(self.preset))
        )
        for section, values in self.policies.items():
            known = given.get(section)
            if not isinstance(known, dict):
                raise ValueError(f"policies has no section {section!r}{_nearest(section, given)}")
            for key, value in values.items():
                if key not in known:
                    raise ValueError(f"policies.{section} has no {key!r}{_nearest(key, known)}")
                known[key] = (
                    float(value) if isinstance(known[key], float) and isinstance(value, int) else value
                )
        try:
            return from_plain(Preset, given)
        except SchemaError as error:
            raise ValueError(f"policies: {error}") from None

    def changed(self, settings: Mapping[str, Any]) -> Scenario:
        """This scenario with some keys, such as ``policies.round.rule`` or ``tree./en``, given other values.

        Raises:
            ScenarioError: a key is unknown or a value is not one that it may have.
        """
        data = self.model_dump(mode="json")
        for key, value in settings.items():
            _put(data, key.split("."), value, key)
        return parse(data, self.name)

    def for_arm(self, arm: Arm) -> Scenario:
        """The scenario of one arm."""
        if arm == "no-attack":
            return self.model_copy(update={"attackers": ()})
        if arm == "plain-mean":
            undefended = {**self.policies.get("round", {}), "rule": "mean", "clip": 1e6}
            mixing = {**self.policies.get("mixing", {}), "rule": "mean"}
            return self.model_copy(
                update={"policies": {**self.policies, "round": undefended, "mixing": mixing}}
            )
        return self


def parse(data: Mapping[str, Any], source: str) -> Scenario:
    """A scenario from a plain map. Raises :class:`ScenarioError` naming what is wrong, and the nearest known key."""
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            raise ScenarioError(
                f"Scenario {source} has no setting {where}{_nearest(key, _keys_near(first['loc']))}",
                "See docs/simulation.md for every setting",
            ) from None
        what = first["msg"].removeprefix("Value error, ")
        raise ScenarioError(
            f"Scenario {source}{f', {where}' if where else ''}: {what}", "Correct the value and run it again"
        ) from None


def load(name: str) -> Scenario:
    """A shipped scenario by its name, or one from a ``.toml`` file.

    Raises:
        ScenarioError: there is none, or it is not valid.
    """
    if name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioError(f"The scenario {name} cannot be read: {error}", "Check the path") from None
    elif name in shipped():
        text = resources.files("banyan.simulations").joinpath("scenarios", f"{name}.toml").read_text("utf-8")
    else:
        raise ScenarioError(
            f"There is no scenario {name!r}{_nearest(name, shipped())}",
            f"Choose one of {', '.join(shipped())}, or give a .toml file",
        )
    try:
        return parse(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"The scenario {name} is no TOML: {error}", "Correct that line") from None


def shipped() -> list[str]:
    """The names of the scenarios that come with Banyan."""
    folder = resources.files("banyan.simulations").joinpath("scenarios")
    return sorted(each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml"))


def _put(data: dict[str, Any], path: list[str], value: Any, whole: str) -> None:
    """Set a nested key; an index picks from a list, as in ``faults.0.count``."""
    here: Any = data
    for part in path[:-1]:
        if isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        elif isinstance(here, dict):
            here = here.setdefault(part, {})
        else:
            raise ScenarioError(f"There is no setting {whole}", "See docs/simulation.md for every setting")
    if isinstance(here, list) and path[-1].isdigit() and int(path[-1]) < len(here):
        here[int(path[-1])] = value
    elif isinstance(here, dict):
        here[path[-1]] = value
    else:
        raise ScenarioError(f"There is no setting {whole}", "See docs/simulation.md for every setting")


def _keys_near(place: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at ``place`` knows."""
    section: Any = Scenario
    for part in place[:-1]:
        field = getattr(section, "model_fields", {}).get(part)
        section = field.annotation if field is not None else section
    return list(getattr(section, "model_fields", Scenario.model_fields))


def _nearest(given: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {nearest[0]}?)" if nearest else ""

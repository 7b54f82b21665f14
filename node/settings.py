"""What the owner of a node may choose, with the unit, the default and the trade-off of each.

Sources, later over earlier: the defaults of a preset, ``settings.toml`` in the state directory, environment
variables (``BANYAN_NETWORK_PORT`` for ``port`` in ``[network]``), flags. An unknown key is an error that
names the nearest known one. What a whole network must agree on (rule, f, deadlines, limits) is in its
charter.
"""

from __future__ import annotations

import difflib
import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from banyan.node.catalog.weights import Weights
from banyan.node.learning.settings import TrainingSettings
from banyan.security.errors import BanyanError

Preset = Literal["local", "lan", "wan"]

#: Environment variables with our prefix that are no settings.
HOOK_VARIABLES = frozenset(
    f"BANYAN_{name}"
    for name in ["EVENT", "BRANCH", "HEIGHT", "RELEASE", "LEADER", "USED", "LEFT_OUT", "NODE", "HOME"]
)
"""What a hook finds in its environment."""

RESERVED = frozenset({"BANYAN_PASSPHRASE", "BANYAN_DEBUG"}) | HOOK_VARIABLES

PREFIX = "BANYAN_"

_LEARNING = TrainingSettings()


class SettingsError(BanyanError):
    """A setting is unknown, or its value is not one that it may have."""


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(Section):
    """``[network]``: how this node is reached and how much it gives."""

    listen: str = Field(
        "0.0.0.0",
        description="The address to listen on. 0.0.0.0: every interface, so that others can reach this node. "
        "127.0.0.1: this machine only. Preset local: 127.0.0.1.",
    )
    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="The TCP port. 0 (default): a free one, chosen at the first start and kept from then "
        "on. A fixed one can be opened in a firewall, but two nodes on one machine need two.",
    )
    announce: tuple[str, ...] = Field(
        (),
        max_length=8,
        description="Multiaddrs to tell others instead of the ones found here, such as "
        "/ip4/203.0.113.7/tcp/4701. Needed behind a router that forwards a port; a wrong one makes this node "
        "unreachable.",
    )
    mdns: bool = Field(
        True,
        description="Find nodes of the same network on the local network without any address. Presets local "
        "and wan: off; it tells everyone on the local network that this node exists.",
    )
    timeout: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds that a peer may take to answer or to send the next chunk. Presets: local 10, "
        "lan 10, wan 30. Shorter gives up on dead peers sooner, longer is kinder to slow links.",
    )
    connections: int = Field(
        64,
        ge=2,
        le=1024,
        description="Open connections at most. More reach more peers at once; each costs about 0.5 MB of "
        "memory.",
    )
    share_base: bool = Field(
        True,
        description="Whether other nodes may fetch the base model from this one. false spares this device's uplink, "
        "and newcomers depend on the others for it.",
    )
    upload: int = Field(
        0,
        ge=0,
        description="Bytes a second of blobs that this node sends to all others together; 0 (default): as many as "
        "they take. Less leaves more of the line for you; below 1000000 others may pass this node over as too slow.",
    )


class Training(Section):
    """``[training]``: what this device learns from, and how hard it works."""

    data: Path | None = Field(
        None,
        description="A JSONL file or a folder of them. It never leaves this device. None (default): this "
        "node relays, verifies and keeps history, but does not train.",
    )
    watch: Path | None = Field(
        None,
        description="A folder to learn from as JSONL files arrive in it, each once, instead of data. None (default): "
        "train on data.",
    )
    watch_rounds: int = Field(
        1,
        ge=0,
        le=1_000_000,
        description="Rounds that what has arrived is trained on; 0: every round until more arrives. More learn it "
        "better and take longer.",
    )
    private: bool = Field(
        False,
        description="true: what is learnt from data stays on this device, until `banyan share`. false (default): it "
        "goes into the branch's rounds.",
    )
    branch: str | None = Field(
        None,
        description="The branch this node works on, such as /health/first_aid. Default: the one it joined "
        "with, else the first of the charter that has no children.",
    )
    app: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="Your own Flower ClientApp as package.module:attribute. None (default): Banyan's own.",
    )
    base: Path | None = Field(
        None,
        description="A folder that already holds the network's base model; its fingerprint must be the "
        "charter's. None (default): fetched from peers.",
    )
    rank: int = Field(
        _LEARNING.columns,
        ge=0,
        le=1_024,
        description="Columns of B that this device trains, the first of the adapter's rank; 0: all of them. Fewer: a "
        "smaller update to send, in proportion, and less learnt a round.",
    )
    steps: int = Field(
        _LEARNING.steps,
        ge=1,
        le=1_000_000,
        description="Optimiser steps a round. More learn more of this device's data each round and pull its "
        "update further from the others'; together they should take less than the round's deadline.",
    )
    batch: int = Field(
        _LEARNING.batch,
        ge=1,
        le=4096,
        description="Rows a step. More: steadier steps, each slower and with more memory.",
    )
    max_length: int = Field(
        _LEARNING.max_length,
        ge=8,
        le=1 << 20,
        description="Tokens of a row that are used; the rest is cut. Time and memory grow with it.",
    )
    learning_rate: float = Field(
        _LEARNING.learning_rate,
        gt=0,
        le=10,
        description="Peak learning rate of B; a frozen A needs about ten times what one gives LoRA. Larger "
        "learns faster until it diverges.",
    )
    eval_rows: int = Field(
        _LEARNING.eval_rows,
        ge=1,
        le=1_000_000,
        description="Held-out rows the loss is measured on before and after. More: surer and slower.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        _LEARNING.device, description="auto: an accelerator where there is one; else exactly the one named."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        _LEARNING.precision,
        description="auto: bfloat16 where a GPU has it (twice as fast, slightly rougher), else float32.",
    )
    continual: Literal["replay", "ewc", "orthogonal", "none"] = Field(
        _LEARNING.continual,
        description="What keeps earlier data sources from being forgotten. replay (default): rows of them join every "
        "step, for about twice the time; ewc: B is held where they need it; orthogonal: what they changed is left "
        "alone; none: the gate only.",
    )
    continual_epsilon: float = Field(
        _LEARNING.continual_epsilon,
        ge=0,
        le=100,
        description="How far an earlier source's held-out loss may be above what its own training reached, nats a "
        "token. Lower forgets less and holds back more of what is new.",
    )
    gate_tries: int = Field(
        _LEARNING.gate_tries,
        ge=0,
        le=20,
        description="Shares of a step that the gate tries where the whole does not pass, each measures every earlier "
        "source once. More lets a larger share through, later. 0: no gate.",
    )
    replay_rows: int = Field(
        _LEARNING.replay_rows,
        ge=1,
        le=100_000,
        description="Rows of all sources kept on this device for replay, about 1 KB each. More: a truer picture of the "
        "past.",
    )
    replay_ratio: float = Field(
        _LEARNING.replay_ratio,
        ge=0,
        le=16,
        description="Rows of earlier sources for each new one in a step, with replay. More forgets less, slower.",
    )
    dp_epsilon: float = Field(
        _LEARNING.dp_epsilon,
        ge=0,
        le=1000,
        description="How much this node's updates may tell of any one row, in all: the ε of differential privacy. "
        "Lower tells less and learns less. 0 (default): no noise.",
    )
    dp_delta: float = Field(
        _LEARNING.dp_delta,
        gt=0,
        le=0.1,
        description="The chance that dp_epsilon does not hold; well below one over the number of rows.",
    )
    dp_clip: float = Field(
        _LEARNING.dp_clip,
        gt=0,
        le=1e6,
        description="What each row's gradient is shortened to, with dp_epsilon. Lower: less noise and less learnt.",
    )
    dp_rounds: int = Field(
        _LEARNING.dp_rounds,
        ge=1,
        le=1_000_000,
        description="Rounds over which the budget of dp_epsilon is spread. More: each tells and learns less.",
    )
    ewc_strength: float = Field(
        _LEARNING.ewc_strength,
        ge=0,
        le=1e9,
        description="How stiff the springs of ewc are. More forgets less and learns less.",
    )


class Worker(Section):
    """``[worker]``: the child process that computes."""

    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads for training. 0 (default): half of this machine's cores, at least one, so "
        "that it stays usable while it trains.",
    )
    stall: float = Field(
        900.0,
        gt=0,
        description="Seconds without any sign of progress after which a worker counts as hung and is "
        "replaced. Lower frees it sooner; too low kills slow loads of large models.",
    )
    idle: float = Field(
        600.0,
        ge=0,
        description="Seconds without a job after which a worker ends and gives its memory back; 0: never. "
        "Lower holds less memory and starts it more often (5 to 10 s each).",
    )
    niceness: int = Field(
        5,
        ge=0,
        le=19,
        description="How far training steps back behind other programs. 0: not at all, 19: as far as it can.",
    )


class Api(Section):
    """``[api]``: the control API beyond the Unix socket, which is always there."""

    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="A TCP port for the control API; every request then needs the token in HOME/token. 0 "
        "(default): off. On: dashboards on other machines can read it.",
    )
    host: str = Field(
        "127.0.0.1",
        description="The address it listens on. Beyond 127.0.0.1 the token travels unencrypted: put a TLS "
        "proxy in front.",
    )


class Page(Section):
    """``[page]``: the node's page in a browser on this machine."""

    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="The TCP port of 127.0.0.1 that it listens on. 0 (default): any that is free, and only once "
        "`banyan page` asks for it. A number: from the start, so that a bookmark stays true.",
    )


class Store(Section):
    """``[store]``: what the disk keeps."""

    events: int = Field(
        10_000,
        ge=100,
        le=10_000_000,
        description="Lines of the event log to keep. More remember longer; about 300 bytes each.",
    )
    collect: float = Field(
        3600.0,
        ge=10,
        description="Seconds between two collections of blobs that nothing needs any more. Shorter frees "
        "disk sooner; longer can serve late peers a little better.",
    )


class Catalog(Weights, Section):
    """``[catalog]``: model cards, and how models are weighed when one is recommended."""

    renew: float = Field(
        3600.0,
        ge=1,
        description="Seconds after which the card of this node's branch is signed anew where the branch has moved on "
        "and this node leads it. Shorter keeps cards true, and costs every node of the network one message.",
    )
    embedding: Path | None = Field(
        None,
        description="The folder of a sentence model (safetensors, mean pooling) that compares requests with cards. "
        "None (default): by words alone, which needs no torch. With one: better on odd wordings, and seconds slower.",
    )


class Hooks(Section):
    """``[hooks]``: programs of yours that are told what happens."""

    release: tuple[Annotated[str, Field(min_length=1, max_length=4_096)], ...] = Field(
        (),
        max_length=64,
        description="A program to run at each release of this node's branch and of those above it, as a list: "
        '["notify", '
        '"--quiet"]. No shell reads it; BANYAN_BRANCH, BANYAN_HEIGHT, BANYAN_RELEASE, BANYAN_LEADER, BANYAN_USED and '
        "BANYAN_LEFT_OUT in its environment say what was released. Empty (default): none.",
    )
    timeout: float = Field(
        60.0,
        gt=0,
        le=3_600,
        description="Seconds after which a hook is ended with all that it has started. Longer lets it do more; two run "
        "at once, and releases wait for them.",
    )


class Settings(Section):
    """Every setting of a node."""

    preset: Preset = Field(
        "lan",
        description="local: all on one machine. lan: one network, found by mDNS. wan: over the internet, "
        "patient.",
    )
    network: Network = Field(default_factory=Network)
    training: Training = Field(default_factory=Training)
    worker: Worker = Field(default_factory=Worker)
    api: Api = Field(default_factory=Api)
    page: Page = Field(default_factory=Page)
    store: Store = Field(default_factory=Store)
    catalog: Catalog = Field(default_factory=Catalog)
    hooks: Hooks = Field(default_factory=Hooks)


#: What each preset changes from the defaults above.
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "local": {"network": {"listen": "127.0.0.1", "mdns": False}},
    "lan": {},
    "wan": {"network": {"mdns": False, "timeout": 30.0}},
}


def load(
    path: Path,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings of a node whose file is ``path`` (it may be absent).

    ``flags`` has dotted names (``network.port``); None values are flags that were not given. Raises
    :class:`SettingsError` naming the key, what is wrong, and the nearest known key.
    """
    given: dict[str, Any] = {}
    for source, values in (
        (str(path), _from_file(path)),
        ("the environment", _from_environment(environment)),
        ("a flag", {name: value for name, value in (flags or {}).items() if value is not None}),
    ):
        for name, value in values.items():
            if name not in KNOWN:
                raise _unknown(name, source)
            given[name] = value
    preset = given.get("preset", Settings.model_fields["preset"].default)
    tree: dict[str, Any] = {section: dict(values) for section, values in PRESETS.get(preset, {}).items()}
    for name, value in given.items():
        section, _, field = name.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[field] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise _invalid(error) from None


def describe() -> Iterator[tuple[str, object, str]]:
    """Name, default and description of every setting, in the order of this file."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for inner, described in section.model_fields.items():
                yield f"{name}.{inner}", described.default, described.description or ""
        else:
            yield name, field.default, field.description or ""


def save(path: Path, changes: Mapping[str, Any]) -> None:
    """Write ``changes`` (dotted names; None removes a key) into the settings file, keeping its other keys.

    Comments in the file are not kept. The result is checked before it is written.
    """
    from banyan.node.home import write_durably

    merged = _from_file(path)
    for name, value in changes.items():
        if name not in KNOWN:
            raise _unknown(name, "this command")
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    text = _toml(merged)
    load(path.with_name(".none"), tomllib_flat(tomllib.loads(text)), {})
    write_durably(path, text.encode())


def tomllib_flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(tomllib_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


KNOWN: Mapping[str, object] = {name: default for name, default, _ in describe()}


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib_flat(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} is not valid TOML ({error})", "Mend that line, or remove the file"
        ) from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in RESERVED:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in KNOWN:
            name = name.replace("_", ".", 1)
        values[name] = _listed(name, text)
    return values


def _listed(name: str, text: str) -> object:
    """The value of a setting from the environment, where a list is written in one line."""
    if name == "network.announce":
        return [part for part in text.split(",") if part]
    return shlex.split(text) if name == "hooks.release" else text


def _unknown(name: str, source: str) -> SettingsError:
    nearest = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.0)[0]
    field = name.rpartition(".")[2]
    same = [known for known in KNOWN if known.rpartition(".")[2] == field]
    return SettingsError(
        f"{source[0].upper() + source[1:]} sets {name}, which is no setting",
        f"Did you mean {(same or [nearest])[0]}? `banyan settings` lists them all",
    )


def _invalid(error: ValidationError) -> SettingsError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    message = first["msg"]
    if name == "preset":
        message = f"it is one of {', '.join(get_args(Preset))}"
    return SettingsError(
        f"The setting {name} cannot be {first.get('input')!r}: {message[0].lower() + message[1:]}",
        "`banyan settings` says what each may be",
    )


def _toml(values: Mapping[str, Any]) -> str:
    sections: dict[str, list[str]] = {}
    for name in KNOWN:
        if name in values:
            section, _, field = name.rpartition(".")
            sections.setdefault(section, []).append(f"{field} = {_literal(values[name])}")
    blocks = ["\n".join(([f"[{section}]"] if section else []) + lines) for section, lines in sections.items()]
    return "\n\n".join(blocks) + "\n"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    import json

    return json.dumps(str(value))  # a JSON string is a TOML basic string, up to characters JSON escapes alike

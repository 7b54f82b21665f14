"""The branches that the requests choose from, and any number of copies of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from banyan.node.catalog.listing import BaseFacts, Listing, Probe

HERE: Final = Path(__file__).parent
NOW: Final = 1_800_000_000_000
DAY: Final = 86_400_000

#: Shapes of well-known models: parameters, layers, hidden, intermediate, heads, width of keys, vocabulary, context.
BASES: Final = {
    "b01": (134_515_008, 30, 576, 1_536, 9, 192, 49_152, 8_192),
    "b05": (494_032_768, 24, 896, 4_864, 14, 128, 151_936, 32_768),
    "b1": (1_100_048_384, 22, 2_048, 5_632, 32, 256, 32_000, 2_048),
    "b3": (3_212_749_824, 28, 3_072, 8_192, 24, 1_024, 128_256, 131_072),
    "b8": (8_030_261_248, 32, 4_096, 14_336, 32, 1_024, 128_256, 131_072),
}
RANK: Final = 16


def base(name: str) -> BaseFacts:
    """One of :data:`BASES`."""
    parameters, layers, hidden, intermediate, heads, kv_width, vocabulary, context = BASES[name]
    return BaseFacts(
        name=name,
        digest=hashlib.sha256(name.encode()).hexdigest(),
        license="apache-2.0",
        parameters=parameters,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_width=kv_width,
        vocabulary=vocabulary,
        context=context,
    )


def branches() -> list[Listing]:
    """The listings of ``branches.txt``."""
    lines = (HERE / "branches.txt").read_text("utf-8").splitlines()
    return [_listing(line) for line in lines if line and not line.startswith("#")]


def many(count: int) -> list[Listing]:
    """``count`` listings: those of :func:`branches`, again and again below other names."""
    own = branches()
    return [
        listing.model_copy(update={"path": f"{listing.path.rstrip('/')}/copy{number // len(own)}"})
        if number >= len(own)
        else listing
        for number, listing in ((number, own[number % len(own)]) for number in range(count))
    ]


def _listing(line: str) -> Listing:
    fields = [field.strip() for field in line.split("|")]
    path, size, license, contributors, loss, days, spoken, tasks, domains, title, description = fields
    below = base(size)
    outputs = below.layers * (3 * below.hidden + 2 * below.kv_width + 2 * below.intermediate)
    inputs = below.layers * (6 * below.hidden + below.intermediate)
    return Listing(
        path=path,
        standing="claimed",
        author="author",
        signed=NOW - int(days) * DAY,
        height=12,
        release=hashlib.sha256(path.encode()).hexdigest(),
        parent=None,
        released=NOW - int(days) * DAY,
        contributors=int(contributors),
        members=int(contributors),
        cosigners=0,
        counts=(),
        title=title,
        description=description,
        languages=tuple(spoken.split()),
        domains=tuple(each.strip() for each in domains.split(",")),
        tasks=tuple(each.strip() for each in tasks.split(",")),
        license=license,
        base=below,
        adapter_rank=RANK,
        adapter_parameters=RANK * outputs,
        adapter_inputs=RANK * inputs,
        probes=(Probe(metric="loss", value=float(loss), height=12, rows=200, source="measured"),),
    )

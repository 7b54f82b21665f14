"""What a model must satisfy before it is offered at all, and what would have to change where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.memory import needed
from banyan.node.catalog.need import Need, Precision
from banyan.node.catalog.sizes import in_words
from banyan.node.catalog.speed import tokens_per_second

Cause: TypeAlias = Literal["memory", "disk", "language", "license", "speed"]

#: Parts of licenses' names that forbid commercial use.
NON_COMMERCIAL = ("-nc", "noncommercial", "non-commercial", "research-only")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a model is not offered. ``lacks`` is by how much (bytes, or tokens/s), where that can be counted."""

    cause: Cause
    what: str
    lacks: float = 0.0


def obstacles(listing: Listing, need: Need, device: Device) -> list[Obstacle]:
    """Everything that keeps ``listing`` from serving ``need`` on ``device``; empty: it may be offered."""
    return [*_language(listing, need), *_license(listing, need), *_room(listing, need, device)]


def fit(listing: Listing, need: Need, device: Device) -> tuple[Precision, int]:
    """The first precision at which it fits here, else the smallest that runs here, and the bytes that it takes so."""
    takes = [(needed(listing, need.use, each), each) for each in device.precisions]
    room = memory_of(need, device)
    size, precision = next((each for each in takes if each[0] <= room), min(takes))
    return precision, size


def memory_of(need: Need, device: Device) -> int:
    """The bytes that a model may take: what is free here, or less if the person says so. More than is here cannot be
    promised, so a larger wish counts as what is here."""
    return min(need.memory or device.memory, device.memory)


def _language(listing: Listing, need: Need) -> Iterator[Obstacle]:
    spoken = {tag.partition("-")[0] for tag in listing.languages}
    missing = [tag for tag in need.languages if tag.partition("-")[0] not in spoken]
    if missing:
        yield Obstacle(
            "language", f"does not know {', '.join(missing)} (it knows {', '.join(listing.languages)})"
        )


def _license(listing: Listing, need: Need) -> Iterator[Obstacle]:
    if need.license is None:
        return
    for license in listing.licenses:
        name = license.casefold()
        if need.license == "commercial":
            if any(part in name for part in NON_COMMERCIAL) or name == "unknown":
                yield Obstacle("license", f"its license {license} does not allow commercial use")
        elif license == listing.license and not _is_named(name, need.license):
            yield Obstacle("license", f"its license is {license}, not {need.license}")


def _is_named(name: str, wanted: str) -> bool:
    wanted = wanted.casefold()
    return name == wanted or name.startswith(wanted + "-")


def _room(listing: Listing, need: Need, device: Device) -> Iterator[Obstacle]:
    room, (precision, takes) = memory_of(need, device), fit(listing, need, device)
    if takes > room:
        yield Obstacle(
            "memory",
            f"needs {in_words(takes)} to {need.use} in {precision}, {in_words(room)} are there",
            takes - room,
        )
    disk = min(need.disk or device.disk, device.disk)
    if listing.download > disk:
        yield Obstacle(
            "disk",
            f"needs {in_words(listing.download)} of disk, {in_words(disk)} are there",
            listing.download - disk,
        )
    if need.tokens_per_second is not None:
        rate = tokens_per_second(listing, device, need.use, precision)
        if rate is not None and rate < need.tokens_per_second:
            yield Obstacle(
                "speed",
                f"makes about {rate:.1f} tokens a second here, {need.tokens_per_second:g} are wanted",
                need.tokens_per_second - rate,
            )

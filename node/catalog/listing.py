"""A branch as the catalog lists it: the card's sheet, and what its release proves (see :mod:`banyan.protocol.card`)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseFacts(_Facts):
    """The base model below the adapter. Widths are numbers of activations, ``context`` is in tokens."""

    name: str
    digest: str
    license: str
    parameters: int = Field(gt=0)
    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    intermediate: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_width: int = Field(gt=0)
    vocabulary: int = Field(gt=0)
    context: int = Field(gt=0)


class Probe(_Facts):
    """One measurement of the release of ``height``; ``rows`` is 0 where their number is unknown."""

    metric: str
    value: float
    height: int
    rows: int
    source: Literal["measured", "reported"]


class Listing(_Facts):
    """One branch. Times are ms since the epoch; ``contributors`` are the votes that its release counts."""

    path: str
    standing: Literal["certified", "claimed", "unreleased"]
    author: str
    signed: int
    height: int
    release: str | None
    parent: str | None
    released: int | None
    contributors: int
    members: int
    cosigners: int
    counts: tuple[str, ...]
    title: str
    description: str
    languages: tuple[str, ...]
    domains: tuple[str, ...]
    tasks: tuple[str, ...]
    license: str
    base: BaseFacts
    adapter_rank: int = Field(gt=0)
    adapter_parameters: int = Field(gt=0)
    adapter_inputs: int = Field(gt=0)
    probes: tuple[Probe, ...]

    @property
    def licenses(self) -> tuple[str, ...]:
        """Every license that whoever uses the model is bound by: the base's and the adapter's."""
        return tuple(dict.fromkeys(each for each in (self.license, self.base.license) if each))

    @property
    def download(self) -> int:
        """Bytes that a device fetches for it at most: the base in half precision, A and B in float32."""
        return 2 * self.base.parameters + 4 * (self.adapter_inputs + self.adapter_parameters)

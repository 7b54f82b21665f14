"""What somebody needs of a model: filled from free text, from flags, or by an assistant that asks for the rest."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Use: TypeAlias = Literal["run", "train"]
Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]


class Need(BaseModel):
    """A need. What is empty or None was not said; nothing is guessed into it.

    Hard: ``languages``, ``memory``, ``disk``, ``license``, ``tokens_per_second``. Everything else only orders.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field("", max_length=4_000, description="The purpose in the person's own words.")
    written_in: str | None = Field(None, description="The language of those words; a like, not a condition.")
    languages: tuple[str, ...] = Field((), description="Languages that the model must know, as tags: de, pt.")
    domains: tuple[str, ...] = Field((), description="Subjects, as named in subjects.toml.")
    tasks: tuple[str, ...] = Field((), description="What it is to do, as cards name it: translation, code.")
    use: Use = Field("run", description="Only to be used, or also trained on this device.")
    memory: int | None = Field(None, gt=0, description="Bytes that it may take at most.")
    disk: int | None = Field(None, gt=0, description="Bytes of disk that it may take at most.")
    license: str | None = Field(
        None, description="commercial: any that allows it; else a license by name, such as mit."
    )
    tokens_per_second: float | None = Field(None, gt=0, description="The slowest that is fast enough.")
    private: bool = Field(
        False,
        description="Nothing may leave the device. Every model of the tree runs on it, so all satisfy this.",
    )
    prefers: Literal["quality", "speed"] | None = Field(
        None, description="What matters more where they differ."
    )

"""How much each side of a model counts when models are weighed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Weights(BaseModel):
    """Of the five shares of a score. Only their proportions matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: float = Field(
        0.62,
        ge=0,
        le=1,
        description="Share of what a model is about. Lower offers better models of less use.",
    )
    quality: float = Field(
        0.14,
        ge=0,
        le=1,
        description="Share of how good a model should be: its size, and its loss among its like. Higher offers larger "
        "and slower models.",
    )
    speed: float = Field(
        0.08,
        ge=0,
        le=1,
        description="Share of how fast a model is on this device. Higher offers smaller models.",
    )
    trust: float = Field(
        0.10,
        ge=0,
        le=1,
        description="Share of how many made a model, and whether that is proved here. Higher keeps new branches back.",
    )
    freshness: float = Field(
        0.06, ge=0, le=1, description="Share of how new a release is. Higher offers what still changes."
    )
    half_life: float = Field(
        120.0,
        gt=0,
        le=36_500,
        description="Days in which half of the freshness is lost. Shorter prefers the newest.",
    )

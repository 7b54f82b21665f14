from __future__ import annotations

import copy

import pytest

from banyan.security.admission import Reason, UpdateRefused
from banyan.security.errors import BanyanError, Refused
from banyan.security.identity import BadNodeId
from banyan.security.schema import SchemaError


def test_an_error_reads_as_what_happened_and_what_to_do() -> None:
    assert str(BanyanError("The port is taken", "Choose another")) == "The port is taken. Choose another."
    assert str(BanyanError("Is it running?")) == "Is it running?"


@pytest.mark.parametrize(
    "error",
    [
        BanyanError("what", "cure"),
        Refused("too-long", "what", "cure"),
        SchemaError("round.f", "must be small"),
        BadNodeId("ada"),
        UpdateRefused(Reason.MALFORMED, "detail"),
    ],
)
def test_an_error_survives_being_copied(error: BanyanError) -> None:
    for again in (copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert getattr(again, "reason", None) == getattr(error, "reason", None)

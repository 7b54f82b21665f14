"""What can be wrong with the inputs of a rule, in the words of the person who passed them.

Every error here is an :class:`AggregationError`, hence a ``ValueError``: the numbers, not the code, are
at fault. The message says what is wrong and what would be right; the attributes say it to a program.
"""

from __future__ import annotations

from collections.abc import Sequence


class AggregationError(ValueError):
    """The inputs or the settings of a rule cannot be used."""


class TooFewInputs(AggregationError):
    """Fewer inputs than a rule's guarantee needs: it is not run on fewer, nor with a smaller f."""

    def __init__(self, rule: str, n: int, minimum_n: int, f: int) -> None:
        self.rule, self.n, self.minimum_n, self.f = rule, n, minimum_n, f
        tolerance = f" to survive f = {f} malicious" if f else ""
        super().__init__(
            f"{rule} needs at least {minimum_n} inputs{tolerance}, but got {n}: "
            "wait for more inputs, or choose a rule or an f with a smaller minimum"
        )


class NotFinite(AggregationError):
    """Some inputs hold NaN or infinities. ``rows`` are their indices in the order they were passed."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = tuple(rows)
        listed = ", ".join(map(str, self.rows))
        noun = "input" if len(self.rows) == 1 else "inputs"
        super().__init__(
            f"{noun} {listed} not finite (NaN or infinity): leave them out and aggregate the rest"
        )

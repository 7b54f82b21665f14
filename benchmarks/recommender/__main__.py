"""How good the first offers are, on requests that the tuning did not look at, and how long an answer takes.

``python -m benchmarks recommender``
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from banyan.node.catalog.memory import needed
from banyan.node.catalog.recommender import Offer, Recommender
from banyan.node.catalog.understand import understand
from benchmarks.recommender.catalog import NOW, branches, many
from benchmarks.recommender.requests import Request, requests

RESULTS = Path("benchmarks/results")
CARDS = 1_000
LIMIT_MS = 50.0
_MEMORY = re.compile(r"(\d+) ?(GB|MB)")


def judge(recommender: Recommender, asked: Sequence[Request]) -> dict[str, Any]:
    """Shares over ``asked``: good first offers, mean reciprocal rank of the first good one among three, and offers that
    cannot be had, of all offers."""
    firsts = ranks = offers = impossible = 0.0
    for request in asked:
        need = understand(request.text)
        if request.use is not None:
            need = need.model_copy(update={"use": request.use})
        found = recommender.recommend(need, request.device).offers
        paths = [offer.listing.path for offer in found]
        rank = next((place for place, path in enumerate(paths, 1) if path in request.good), None)
        if request.nothing and not paths:
            rank = 1
        firsts += rank == 1
        ranks += 1 / rank if rank else 0
        offers += len(found)
        impossible += sum(cannot_be(offer, request) for offer in found)
    count = len(asked)
    return {
        "requests": count,
        "top_1": firsts / count,
        "mrr": ranks / count,
        "offers": int(offers),
        "infeasible_offers": int(impossible),
    }


def cannot_be(offer: Offer, request: Request) -> bool:
    """Whether an offer breaks what the request says, read here by simpler means than the recommender's own."""
    if request.nothing and not request.good:
        return True
    room = request.device.memory
    for number, unit in _MEMORY.findall(request.text):
        room = min(room, int(number) * (10**9 if unit == "GB" else 10**6))
    takes = min(needed(offer.listing, request.use or "run", each) for each in request.device.precisions)
    is_commercial = "commercial" in request.text and "-nc" in offer.listing.license
    return takes > room or is_commercial


def latency(repeats: int) -> dict[str, float]:
    """Milliseconds of processor time for one answer over :data:`CARDS` cards, and for the index that is made once."""
    begin = time.process_time()
    recommender = Recommender(many(CARDS), now=NOW)
    index = time.process_time() - begin
    asked, spent = requests("tuning"), []
    for number in range(repeats):
        request = asked[number % len(asked)]
        begin = time.process_time()
        recommender.recommend(understand(request.text), request.device)
        spent.append(time.process_time() - begin)
    spent.sort()
    return {
        "cards": CARDS,
        "index_ms": 1000 * index,
        "median_ms": 1000 * median(spent),
        "p95_ms": 1000 * spent[int(0.95 * len(spent))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=236, help="answers timed")
    parser.add_argument("--out", type=Path, default=RESULTS / "recommender.json")
    options = parser.parse_args()
    recommender = Recommender(branches(), now=NOW)
    result = {
        "what": "first offers of the recommender on written requests, and the time of an answer",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "branches": len(branches()),
        "held_out": judge(recommender, requests("held_out")),
        "tuning": judge(recommender, requests("tuning")),
        "latency": latency(options.repeats),
    }
    for name in ("held_out", "tuning"):
        found = result[name]
        print(
            f"{name:9} {found['requests']} requests: good first offer {found['top_1']:.1%}, MRR {found['mrr']:.3f}, "
            f"{found['infeasible_offers']} of {found['offers']} offers infeasible"
        )
    spent = result["latency"]
    print(
        f"an answer over {spent['cards']} cards: "
        f"median {spent['median_ms']:.1f} ms, 95 % below {spent['p95_ms']:.1f} ms "
        f"(limit {LIMIT_MS:.0f}); its index once {spent['index_ms']:.0f} ms"
    )
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()

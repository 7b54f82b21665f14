"""How much the assistant asks, and what a turn costs beside one recommendation.

``python -m benchmarks assistant``: the written requests of the recommender's benchmark, each as the first turn of a
conversation in which every question is waved aside. The first offer should then be as good as the recommender's own.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from banyan.node.assistant.dialogue import Assistant
from banyan.node.assistant.state import Answer, Dialogue, Edited, Said
from banyan.node.catalog.recommender import Recommender
from banyan.node.catalog.understand import understand
from benchmarks.recommender.catalog import NOW, branches, many
from benchmarks.recommender.requests import Request, requests

RESULTS = Path("benchmarks/results")
CARDS = 1_000


def conversation(assistant: Assistant, request: Request) -> tuple[Answer, list[str]]:
    """The answer once nothing is asked any more, and what was asked on the way."""
    state, answer = assistant.turn(Dialogue(), Said(text=request.text))
    if request.use is not None:
        state, answer = assistant.turn(state, Edited(edit=f"use={request.use}"))
    asked: list[str] = []
    while answer.question is not None and answer.question.topic not in ("confirm", "change"):
        asked.append(answer.question.topic)
        state, answer = assistant.turn(state, Edited(edit="skip"))
    return answer, asked


def asking() -> dict[str, Any]:
    """Over all requests: how many questions, about what, and how many first offers are good, here and unasked."""
    listings = branches()
    recommender = Recommender(listings, now=NOW)
    counts, topics, good, alone = Counter[int](), Counter[str](), 0, 0
    asked_for = [*requests("held_out"), *requests("tuning")]
    for request in asked_for:
        answer, asked = conversation(Assistant(listings, recommender, request.device), request)
        counts[len(asked)] += 1
        topics.update(asked)
        need = understand(request.text)
        need = need.model_copy(update={"use": request.use}) if request.use is not None else need
        first = recommender.recommend(need, request.device, top=1).offers
        good += _is_good([each.path for each in answer.offers[:1]], request)
        alone += _is_good([each.listing.path for each in first], request)
    return {
        "requests": len(asked_for),
        "questions": {str(number): counts[number] for number in sorted(counts)},
        "topics": dict(topics.most_common()),
        "good_first_offers": good / len(asked_for),
        "good_first_offers_of_the_recommender": alone / len(asked_for),
    }


def cost(repeats: int) -> dict[str, float]:
    """Milliseconds of processor time for a first turn over :data:`CARDS` cards, and its ratio to one recommendation."""
    listings = many(CARDS)
    recommender = Recommender(listings, now=NOW)
    turns, recommendations = [], []
    for request in (requests("tuning") * 3)[:repeats]:
        assistant = Assistant(listings, recommender, request.device)
        begin = time.process_time()
        assistant.turn(Dialogue(), Said(text=request.text))
        middle = time.process_time()
        recommender.recommend(understand(request.text), request.device)
        turns.append(middle - begin)
        recommendations.append(time.process_time() - middle)
    return {
        "cards": CARDS,
        "median_ms": 1000 * median(turns),
        "p95_ms": 1000 * sorted(turns)[int(0.95 * len(turns))],
        "recommendations": median(turns) / median(recommendations),
    }


def _is_good(paths: list[str], request: Request) -> bool:
    return paths[0] in request.good if paths else request.nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=118, help="turns timed")
    parser.add_argument("--out", type=Path, default=RESULTS / "assistant.json")
    options = parser.parse_args()
    result = {
        "what": "questions asked on written requests, offers once all are waved aside, and the time of a turn",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "asking": asking(),
        "cost": cost(options.repeats),
    }
    found, spent = result["asking"], result["cost"]
    print(f"{found['requests']} requests, questions asked: {found['questions']}, about {found['topics']}")
    print(
        f"good first offers {found['good_first_offers']:.1%} with every question waved aside, "
        f"{found['good_first_offers_of_the_recommender']:.1%} from the recommender alone"
    )
    print(
        f"a first turn over {spent['cards']} cards: median {spent['median_ms']:.0f} ms, "
        f"95 % below {spent['p95_ms']:.0f} ms, {spent['recommendations']:.1f} recommendations' time"
    )
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()

"""A small catalog, written out, and devices to choose for."""

import hashlib

import pytest

from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import BaseFacts, Listing, Probe

NOW = 1_800_000_000_000
DAY = 86_400_000

#: parameters, layers, hidden, intermediate, heads, width of keys, vocabulary, context
SHAPES = {
    "small": (134_515_008, 30, 576, 1_536, 9, 192, 49_152, 8_192),
    "middle": (1_100_048_384, 22, 2_048, 5_632, 32, 256, 32_000, 2_048),
    "large": (8_030_261_248, 32, 4_096, 14_336, 32, 1_024, 128_256, 131_072),
}


def listing(path, *, base="middle", languages="en", domains="", license="mit", loss=2.0, **changes):
    names = ("parameters", "layers", "hidden", "intermediate", "heads", "kv_width", "vocabulary", "context")
    shape = dict(zip(names, SHAPES[base], strict=True))
    digest = hashlib.sha256(base.encode()).hexdigest()
    facts = {
        "path": path,
        "standing": "certified",
        "author": "12D3KooAuthor",
        "signed": NOW - DAY,
        "height": 7,
        "release": hashlib.sha256(path.encode()).hexdigest(),
        "parent": None,
        "released": NOW - DAY,
        "contributors": 10,
        "members": 12,
        "cosigners": 5,
        "counts": (),
        "title": "",
        "description": "",
        "languages": tuple(languages.split()),
        "domains": tuple(filter(None, (each.strip() for each in domains.split(",")))),
        "tasks": ("question-answering",),
        "license": license,
        "base": BaseFacts(name=base, digest=digest, license="apache-2.0", **shape),
        "adapter_rank": 16,
        "adapter_parameters": 1_000_000,
        "adapter_inputs": 1_000_000,
        "probes": (Probe(metric="loss", value=loss, height=7, rows=100, source="measured"),),
    }
    return Listing(**facts | changes)


def device(memory=24_000_000_000, **changes):
    facts = {
        "memory": memory,
        "disk": 10**12,
        "precisions": ("bfloat16", "float32"),
        "bytes_per_second": 50e9,
        "flops": 1e12,
    }
    return Device(**facts | changes)


@pytest.fixture(scope="session")
def garden():
    """Eight branches of three sizes in three languages."""
    return [
        listing("/", base="large", languages="en de es", domains="general"),
        listing("/en", domains="general", contributors=40),
        listing("/en/medical", base="large", domains="medicine, clinical"),
        listing("/en/medical/cardiology", domains="heart, ecg", license="cc-by-nc-4.0"),
        listing("/en/tax", domains="income tax, vat", standing="claimed"),
        listing("/de/steuern", languages="de", domains="steuern", title="Steuern"),
        listing("/en/cooking", base="small", domains="recipes, food"),
        listing("/es/cocina", base="small", languages="es", domains="cocina, recetas"),
    ]

"""What a machine has is told as a process on it may use it, and measured once."""

import json
import time

import pytest

from banyan.node.catalog import hardware
from banyan.node.catalog.hardware import HardwareError, Throughput, device_of, look, probe
from banyan.node.catalog.limits import cores_limit, memory_limit, memory_used

SPEED = {
    "accelerators": (),
    "device": "cpu",
    "precision": "float32",
    "flops": 5e10,
    "bytes_per_second": 1e10,
    "threads": 2,
    "torch": "2.0",
}
GPU = {"kind": "cuda", "name": "A GPU", "memory": 24 * 10**9, "free": 20 * 10**9}


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {
    "proc/self/cgroup": "0::/box/inner\n",
    "sys/fs/cgroup/box/memory.max": "2000000000\n",
    "sys/fs/cgroup/box/memory.current": "700000000\n",
    "sys/fs/cgroup/box/memory.stat": "anon 1\ninactive_file 200000000\n",
    "sys/fs/cgroup/box/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/box/inner/memory.max": "max\n",
    "sys/fs/cgroup/box/inner/cpu.max": "max 100000\n",
}
V1 = {
    "proc/self/cgroup": "9:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000000000\n",
    "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 100000000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}


@pytest.mark.parametrize(
    ("files", "memory", "used", "cores"),
    [
        (V2, 2_000_000_000, 500_000_000, 1.5),
        (V1, 3_000_000_000, 900_000_000, 0.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None, None, None),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None, None, None),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}, None, None, None),
        ({"sys/fs/cgroup/memory.max": "a lot\n", "sys/fs/cgroup/cpu.max": "\n"}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_the_limits_of_a_container_are_read_in_both_versions(tmp_path, files, memory, used, cores):
    root = tree(tmp_path, files)
    assert (memory_limit(root), memory_used(root), cores_limit(root)) == (memory, used, cores)


def test_a_machine_inside_a_container_is_as_large_as_its_limit(tmp_path):
    found = look(tmp_path / "not" / "there", root=tree(tmp_path, V2))
    assert found.limited
    assert found.memory == 2_000_000_000
    assert 0 < found.memory_free <= 1_500_000_000
    assert found.cores <= 1.5
    assert found.disk_free > 0


def test_a_model_goes_to_the_gpu_where_there_is_one_and_else_into_free_memory(tmp_path):
    here = look(tmp_path, throughput=Throughput(**SPEED), measured=1)
    assert device_of(here).memory == here.memory_free
    assert device_of(here).precisions == ("float32",)
    speed = Throughput(**SPEED | {"device": "cuda", "precision": "bfloat16", "accelerators": (GPU,)})
    there = device_of(look(tmp_path, throughput=speed, measured=1))
    assert (there.memory, there.precisions, there.accelerator) == (20 * 10**9, ("bfloat16",), "A GPU")


def test_nothing_is_promised_of_a_machine_that_was_not_measured(tmp_path):
    place = device_of(look(tmp_path))
    assert (place.bytes_per_second, place.flops, place.precisions) == (None, None, ("float32",))


@pytest.fixture
def measured(monkeypatch):
    """A measurement that only counts how often it was asked for; the real one is in a test of its own."""
    asked = []

    def measure():
        asked.append(1)
        return Throughput(**SPEED)

    monkeypatch.setattr(hardware, "_measured", measure)
    return asked


def test_a_machine_is_measured_once_and_again_when_asked(tmp_path, measured):
    cache = tmp_path / "cache" / "hardware.json"
    first = probe(tmp_path, cache=cache)
    assert probe(tmp_path, cache=cache).measured == first.measured
    assert len(measured) == 1
    probe(tmp_path, cache=cache, fresh=True)
    assert len(measured) == 2


@pytest.mark.parametrize("damage", ["torn", "other machine", "old", "from the future", "negative"])
def test_a_measurement_that_is_not_of_this_machine_now_is_made_again(tmp_path, measured, damage):
    cache = tmp_path / "hardware.json"
    probe(tmp_path, cache=cache)
    plain = json.loads(cache.read_text())
    now = time.time_ns() // 10**6
    changed = {
        "torn": cache.read_text()[:40],
        "other machine": json.dumps(plain | {"machine": ["other"]}),
        "old": json.dumps(plain | {"measured": now - 40 * 86_400_000}),
        "from the future": json.dumps(plain | {"measured": now + 10**9}),
        "negative": json.dumps(plain | {"throughput": plain["throughput"] | {"flops": -1.0}}),
    }
    cache.write_text(changed[damage])
    probe(tmp_path, cache=cache)
    assert len(measured) == 2


def test_a_measurement_that_fails_is_an_error_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware.sys, "executable", "/bin/false")
    with pytest.raises(HardwareError, match="could not be measured"):
        probe(tmp_path, cache=tmp_path / "c.json", fresh=True)


def test_a_real_measurement_of_this_machine(tmp_path):
    found = probe(tmp_path, cache=tmp_path / "hardware.json")
    assert found.throughput is not None
    assert found.throughput.flops > 1e7
    assert found.throughput.bytes_per_second > 1e7
    assert found.memory_free <= found.memory

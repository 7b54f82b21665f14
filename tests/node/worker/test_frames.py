"""Frames: whatever arrives, in whatever pieces."""

from __future__ import annotations

import struct
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.node.worker.frames import MAX_FRAME, Deframer, FrameError, pack

PLAIN = st.dictionaries(
    st.text(max_size=5), st.integers(0, 2**40) | st.binary(max_size=20) | st.floats(-1, 1), max_size=4
)
MESSAGES = st.lists(PLAIN.map(lambda plain: {**plain, "kind": "job"}), max_size=5)


@given(MESSAGES, st.lists(st.integers(1, 40), max_size=20))
def test_messages_survive_any_cutting_of_the_stream(
    messages: list[dict[str, object]], cuts: list[int]
) -> None:
    stream = b"".join(pack(message) for message in messages)
    deframer, got, at = Deframer(), [], 0
    for size in [*cuts, len(stream)]:
        got += deframer.feed(stream[at : at + size])
        at += size
    assert got == messages


@given(st.binary(max_size=200))
def test_noise_is_a_frame_error_or_an_unfinished_frame(noise: bytes) -> None:
    try:
        messages = list(Deframer().feed(noise))
    except FrameError:
        return
    assert all("kind" in message for message in messages)


@given(MESSAGES.filter(bool), st.data())
def test_a_mutated_stream_never_gives_anything_but_messages_or_a_frame_error(messages, data) -> None:
    stream = bytearray(b"".join(pack(message) for message in messages))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FrameError):
        assert all(isinstance(message["kind"], str) for message in Deframer().feed(bytes(stream)))


def test_a_length_beyond_the_limit_is_refused_before_its_body_comes() -> None:
    with pytest.raises(FrameError, match="claims"):
        list(Deframer().feed(struct.pack(">I", MAX_FRAME + 1)))
    with pytest.raises(FrameError, match="longer"):
        pack({"kind": "job", "data": bytes(MAX_FRAME)})


@pytest.mark.parametrize(
    "noise", [b"\xff" * 8, pack({"kind": "job"}), pack({"kind": "hello"}), b"\0\0\0\1\xc0"]
)
def test_a_worker_that_is_spoken_to_wrongly_ends_by_itself(noise: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "banyan.node.worker"],
        input=noise,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1, 3)
    assert done.stdout == b""

"""Does a stack arrive whole, without our own frames, and not at all when none is written?"""

from __future__ import annotations

import math
import os

import pytest

from remuda.node.runner import stack
from remuda.node.runner.stack import GIVE_UP_S, SETTLED_S, StackFile, users_part

DUMP = """Thread 0x0000000000000001 (most recent call first):
  File "/run/remuda/worker/speaker.py", line 86 in _tick_forever
  File "/usr/lib/python3.11/threading.py", line 982 in run

Thread 0x0000000000000002 (most recent call first):
  File "/home/ann/loader.py", line 3 in prefetch
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x0000000000000003 (most recent call first):
  File "/home/ann/train.py", line 7 in step
  File "/run/remuda/worker/main.py", line 141 in _attempt
  File "/run/start/worker.py", line 52 in <module>
"""
THEIRS = """Thread 0x0000000000000002 (most recent call first):
  File "/home/ann/loader.py", line 3 in prefetch
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x0000000000000003 (most recent call first):
  File "/home/ann/train.py", line 7 in step
"""


@pytest.fixture
def file(monkeypatch):
    """A stack file whose signal goes nowhere: the test writes."""
    monkeypatch.setattr(stack.os, "kill", lambda pid, number: None)
    found = StackFile()
    yield found
    found.close()


def test_our_own_threads_and_frames_are_left_out():
    assert THEIRS == users_part(DUMP)


def test_a_dump_of_nothing_but_us_is_empty():
    assert "" == users_part(DUMP.split("\n\n", maxsplit=1)[0])


def test_a_call_of_what_is_not_written_in_python_says_so():
    idle, _, current = DUMP.split("\n\n")
    builtin = current.replace('  File "/home/ann/train.py", line 7 in step\n', "")
    assert f"{stack.NO_FRAME}\n" == users_part(f"{idle}\n\n{builtin}")


def test_a_stack_is_handed_on_once_it_stopped_growing(file):
    heard = []
    file.take(1, 10.0, heard.append)
    os.write(file.fd, DUMP[:400].encode())
    file.on_time(10.02)
    os.write(file.fd, DUMP[400:].encode())
    file.on_time(10.04)
    file.on_time(10.04 + SETTLED_S - 0.001)
    assert [] == heard
    file.on_time(file.next_at + SETTLED_S)
    assert ([THEIRS], math.inf) == (heard, file.next_at)


def test_a_worker_that_writes_nothing_is_not_waited_for_long(file):
    heard = []
    file.take(1, 10.0, heard.append)
    file.on_time(10.0 + GIVE_UP_S - 0.001)
    assert [] == heard
    file.on_time(10.0 + GIVE_UP_S + 0.1)
    assert [""] == heard


def test_two_who_ask_at_once_get_the_same_stack(file):
    heard = []
    file.take(1, 10.0, heard.append)
    os.write(file.fd, DUMP.encode())
    file.take(1, 10.01, heard.append)
    file.hand_on()
    assert [THEIRS, THEIRS] == heard


def test_a_second_stack_does_not_hold_the_first(file):
    heard = []
    for text in (DUMP, DUMP.replace("train.py", "other.py")):
        file.take(1, 10.0, heard.append)
        os.write(file.fd, text.encode())
        file.hand_on()
    assert [THEIRS, THEIRS.replace("train.py", "other.py")] == heard

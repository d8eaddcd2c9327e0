"""What does an XID mean: the application's own fault, or a GPU that should get no more work?

Source: NVIDIA, "XID Errors" (docs.nvidia.com/deploy/xid-errors, the catalogue with its resolution
buckets). One that is in no row counts as the GPU's: its card is tried before it is lent again.
"""

from __future__ import annotations

from enum import Enum


class Blame(Enum):
    """Whose fault an XID is.

    REPAIR: memory was repaired by itself, which counts only while a reset is still due for it.
    """

    TASK = "task"
    GPU = "gpu"
    REPAIR = "repair"


_TASK = {
    8: "the GPU stopped processing",
    11: "an invalid or corrupted push buffer stream",
    13: "a graphics engine exception",
    31: "a GPU memory page fault",
    32: "an invalid or corrupted push buffer stream",
    37: "a driver firmware error",
    43: "the GPU stopped processing",
    44: "a graphics engine fault in a context switch",
    45: "a preemptive cleanup after an earlier error",
    68: "a video processor exception",
    69: "a graphics engine class error",
    109: "a context switch took too long",
}
_GPU = {
    48: "a double-bit ECC error",
    62: "the internal micro-controller halted",
    64: "a memory repair could not be recorded",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    81: "a VGA subsystem error",
    92: "a high rate of single-bit ECC errors",
    94: "a contained ECC error",
    95: "an uncontained ECC error",
    110: "a security fault",
    119: "the GPU system processor does not answer",
    120: "an error of the GPU system processor",
    136: "the ECC error of another device reached it",
    140: "an unrecovered ECC error",
    143: "the GPU could not be initialised",
    158: "a fatal GPU timeout",
}
_REPAIR = {63: "a memory repair was recorded"}

WORDS = {**_TASK, **_GPU, **_REPAIR}


def blame(xid: int) -> Blame:
    """Tell whose fault an XID is."""
    if xid in _TASK:
        return Blame.TASK
    return Blame.REPAIR if xid in _REPAIR else Blame.GPU


def describe(xid: int) -> str:
    """Return an XID in words."""
    return f"XID {xid}: {WORDS.get(xid, 'an error of the GPU or its driver')}"

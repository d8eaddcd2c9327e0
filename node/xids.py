"""What does an XID mean: does its card go on, or should it get no more work?

Source: NVIDIA, "Xid Errors", the catalogue for Ampere and newer
(https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html). Its immediate action
decides: `RESTART_APP` and `IGNORE` leave the card in work, `RESET_GPU`, `RESTART_BM` and its
workflows for memory and links (48, 74, 144 to 150) do not. What it gives no action or calls unused,
and what it does not know, counts as the GPU's: its card is tried before it is lent again.
"""

from __future__ import annotations

from enum import Enum


class Blame(Enum):
    """What follows from an XID.

    TASK: the card goes on, and a task that failed on it fails of its own. CONTAINED: the card goes
    on, but what failed on it did so for the card. REPAIR: memory was repaired by itself, which
    counts only while a reset is still due for it.
    """

    TASK = "task"
    CONTAINED = "contained"
    GPU = "gpu"
    REPAIR = "repair"


_COPIES = (39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136))
_DECODERS = (68, 83, 84, 88, 89, 96, 97, 98)
_JPEGS = (82, *range(99, 106))
_RESTART_APP = {
    8: "the GPU stopped processing",
    11: "an invalid or corrupted push buffer stream",
    13: "a graphics engine exception",
    25: "an invalid or illegal push buffer stream",
    31: "a GPU memory page fault",
    32: "an invalid or corrupted push buffer stream",
    60: "a security processor exception",
    69: "a graphics engine class error",
    80: "data sent to the GPU was corrupted",
    **dict.fromkeys(_COPIES, "a copy engine exception"),
    **dict.fromkeys(_DECODERS, "a video decoder exception"),
    **dict.fromkeys(_JPEGS, "a JPEG decoder exception"),
    **dict.fromkeys((86, 139), "an optical flow engine exception"),
}
# 45 follows another error, which has a row of its own; 154 says how to recover from another.
_IGNORE = {
    14: "an unknown error",
    37: "a driver firmware error",
    38: "a driver firmware error",
    43: "the GPU stopped processing",
    44: "a graphics engine fault in a context switch",
    45: "a preemptive cleanup after an earlier error",
    66: "an illegal access by the driver",
    67: "an illegal access by the driver",
    92: "a high rate of single-bit ECC errors",
    93: "the memory of the board's own data wears out",
    106: "a test message",
    107: "a test message",
    108: "an NVLink access that was not translated",
    121: "an error of the link between chips",
    137: "an illegal NVLink access of another GPU",
    141: "a fast path error",
    154: "the way to recover the GPU changed",
    157: "a part of the GPU could not be retired",
    160: "a memory channel was retired",
    161: "a memory channel could not be retired",
}
_GPU = {
    46: "the GPU stopped processing",
    48: "a double-bit ECC error",
    54: "the power connectors of the board",
    62: "the internal micro-controller halted",
    64: "a memory repair could not be recorded",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    95: "an uncontained memory error",
    109: "a context switch took too long",
    110: "a security fault",
    119: "the GPU system processor does not answer",
    120: "an error of the GPU system processor",
    136: "the training of an NVLink failed",
    140: "an unrecovered ECC error",
    143: "the GPU could not be initialised",
    **dict.fromkeys(range(144, 151), "an NVLink error"),
    151: "a key rotation error",
    155: "an NVLink error",
    156: "a part of the GPU is to be retired",
    158: "a fatal GPU timeout",
    171: "an uncorrectable error of its memory",
    172: "an uncorrectable error inside the chip",
}
_CONTAINED = {94: "a contained memory error"}
_REPAIR = {63: "a memory repair was recorded"}

WORDS = {**_RESTART_APP, **_IGNORE, **_GPU, **_CONTAINED, **_REPAIR}
_BLAMES = {
    **dict.fromkeys((*_RESTART_APP, *_IGNORE), Blame.TASK),
    **dict.fromkeys(_CONTAINED, Blame.CONTAINED),
    **dict.fromkeys(_REPAIR, Blame.REPAIR),
}


def blame(xid: int) -> Blame:
    """Tell what follows from an XID."""
    return _BLAMES.get(xid, Blame.GPU)


def describe(xid: int) -> str:
    """Return an XID in words."""
    return f"XID {xid}: {WORDS.get(xid, 'an error of the GPU or its driver')}"

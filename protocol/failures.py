"""Which codes of a failed try are of which class: what is retried, and how, goes by the class."""

from __future__ import annotations

from enum import Enum


class FailureClass(Enum):
    """What a try failed of; each class has a budget, a backoff and a consequence of its own."""

    TASK = "task"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    GPU_MEMORY = "gpu_memory"
    DISK = "disk"
    NETWORK = "network"
    MODEL = "model"
    NODE_LOST = "node_lost"
    CODE_MISSING = "code_missing"


_FILES = ("input_missing", "output_missing", "output_too_large")
_CODES: dict[FailureClass, tuple[str, ...]] = {
    FailureClass.TASK: ("exit_code", "exception", "worker_died", "rejected", *_FILES),
    FailureClass.TIMEOUT: ("timeout", "start_timeout", "silence"),
    FailureClass.MEMORY: ("out_of_memory",),
    FailureClass.GPU_MEMORY: ("gpu_out_of_memory",),
    FailureClass.DISK: ("disk_full",),
    FailureClass.NETWORK: ("network",),
    FailureClass.MODEL: ("model_unavailable",),
    FailureClass.NODE_LOST: ("node_lost", "gpu_lost"),
    FailureClass.CODE_MISSING: ("code_missing", "environment_failed", "owner_refused"),
}
CLASS_OF = {code: kind for kind, codes in _CODES.items() for code in codes}
BUDGET_WORDS = {
    FailureClass.TASK: "its own errors",
    FailureClass.TIMEOUT: "timeouts",
    FailureClass.MEMORY: "running out of memory",
    FailureClass.GPU_MEMORY: "running out of GPU memory",
    FailureClass.DISK: "full disks",
    FailureClass.NETWORK: "network errors",
    FailureClass.MODEL: "models that do not load",
    FailureClass.NODE_LOST: "lost nodes",
    FailureClass.CODE_MISSING: "missing code",
}
"""What the retries of a class are for."""
CLASSES = {kind.value: kind for kind in FailureClass}

FINAL = frozenset(
    {
        "requirements_unmet",
        "result_not_encodable",
        "value_too_large",
        "args_not_decodable",
        "deadline",
        "expired",
        "poison",
        "dependency_failed",
        "restored",
    }
)
"""After these no try follows: it would end the same way, or its time is over."""

KNOWN = frozenset(CLASS_OF) | frozenset(CLASSES)
"""What `retry_on` and `never_on` may name."""


def class_of(code: str) -> FailureClass:
    """Return the class of a code; one that is unknown here is the task's own."""
    return CLASS_OF.get(code, FailureClass.TASK)

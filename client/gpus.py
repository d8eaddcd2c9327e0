"""What can be asked and changed of a cluster's GPUs: one plain function for each request."""

from __future__ import annotations

from typing import Any

from ..protocol.messages import CordonGpu, Done, ListGpus, ListStats, Page, UncordonGpu
from .connection import Connection


def list_gpus(link: Connection, node: str = "", gpu: str = "") -> list[dict[str, Any]]:
    """List the GPUs of all nodes or of one, or those meant by a UUID or NODE:INDEX.

    Raises NotFound for a GPU that is not there; a whole card stands for its MIG devices.
    """
    return link.request(ListGpus(node, gpu), Page).rows


def list_stats(link: Connection, kind: str = "") -> list[dict[str, Any]]:
    """List what is known of each kind of task whose name begins so."""
    return link.request(ListStats(kind), Page).rows


def cordon(link: Connection, gpu: str, *, reason: str = "") -> str:
    """Give a GPU no new work; return what was done."""
    return link.request(CordonGpu(gpu, reason), Done).message


def uncordon(link: Connection, gpu: str) -> str:
    """Give a GPU work again; return what was done."""
    return link.request(UncordonGpu(gpu), Done).message

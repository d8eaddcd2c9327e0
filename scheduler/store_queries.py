"""What is asked about objects: where their store is, which a task has, which are needed."""

from __future__ import annotations

from ..protocol import messages as m
from ..protocol.codec import unpack_document
from ..protocol.errors import Conflict, Invalid, MalformedFrame, NotFound
from ..protocol.spec import from_document
from .access import Principal
from .events import Now
from .view import View

NO_STORE = "no store runs beside the scheduler: start remuda-store there"
_LISTED = ("outputs", "logs")


def find_store(view: View, _message: m.FindStore, _principal: Principal, _now: Now) -> m.Document:
    port = view.store.port()
    if not port:
        raise Conflict(NO_STORE)
    return m.Document({"port": port})


def task_objects(view: View, message: m.TaskObjects, principal: Principal, now: Now) -> m.Document:
    """List the objects of a task, with the right to read them."""
    task_id, _ = view.task(message.task, principal)
    known = view.history.show_task(task_id)
    if known is None:
        raise NotFound("this task was pruned, and its objects with it", field="task")
    spec = from_document(unpack_document(known["body"]))
    said = _details(known["result"].get("details", b""))
    objects = view.store.objects.of_task(task_id)
    return m.Document(
        {
            "files": [[name, *row] for name, row in spec.files.items()],
            **{name: said[name] for name in _LISTED if name in said},
            "claims": view.store.signatures.entitle(objects, principal.key, now.wall_ms),
            "port": view.store.port(),
        }
    )


def references(view: View, message: m.References, _principal: Principal, _now: Now) -> m.Referenced:
    """Say which objects some task refers to."""
    if len(message.digests) > m.REFERENCES_MAX:
        raise Invalid(f"digests: at most {m.REFERENCES_MAX} at a time", field="digests")
    return m.Referenced(view.store.objects.are_held(message.digests))


def _details(blob: bytes) -> dict[str, object]:
    try:
        return unpack_document(blob) if blob else {}
    except MalformedFrame:
        return {}

"""What is an operator told who asks the audit?"""

from __future__ import annotations

from ..protocol import messages as m
from .access import Principal
from .audit import checked
from .events import Now
from .view import View


def list_audit(view: View, message: m.ListAudit, _principal: Principal, _now: Now) -> m.Document:
    """Answer with a slice of the audit; raises Invalid."""
    checked(message.filters, message.limit)
    if message.after >= 0:
        found = view.audit.after(message.after, message.filters, message.limit)
    else:
        found = view.audit.before(message.before, message.filters, message.limit)
    anchor, head = view.audit.ends()
    return m.Document(
        {
            "rows": found.rows,
            "next": found.next,
            "total": head.seq - anchor.seq,
            "anchor": list(anchor),
            "head": list(head),
        }
    )

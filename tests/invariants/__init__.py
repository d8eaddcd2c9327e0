"""Did a run keep its promises? One judge for the simulation, the state machine and real clusters.

| rule | says |
|---|---|
| I1 | what was acknowledged is stored; what is stored was asked for |
| I2 | a task has at most one accepted success, and an end never changes |
| I3 | what was accepted belongs to the current attempt, and attempts only grow |
| I4 | no card is lent beyond itself: in the ledger, on the node, among the tasks themselves |
| I5 | epochs grow, and nobody obeys an earlier one than it knows |
| I6 | after an acknowledged cancel nothing succeeds; what is said to be gone is gone |
| I7 | once the faults stop, all ends within a stated time, and whoever asked is told |
| I8 | counts conserve, credits are not overdrawn, retries and delays keep their bounds |
| I9 | the cache is never ahead of the database, and is equal to it in the end |
| I10 | every change has an author who may make it; only what was submitted runs |
| I11 | two attempts live at a time only if the first was given up as lost; never if fenced |
| I12 | nothing runs before what it needs is prepared, or succeeds before its outputs are stored |
| I13 | nothing is lent on a GPU that is cordoned, known to be faulty, or filled by others |
| I14 | what is charged to nothing, or given back, is bounded |
| I15 | who ran out of a card's memory is lent more of one next time |
| I16 | nodes go by settings that were accepted, in the end by the newest or say why not |

Results may be accepted from attempts of an earlier epoch: they were adopted. What a history does
not hold (a cluster of real processes has no view of the ledger) is not judged.
"""

from .commits import Commits
from .history import FAR_NS, CacheRead, Cancelled, Frame, History, Lend, Run
from .journal import Attempt, AuditEntry, Records, Stored, Submission, read_journal, read_records
from .judge import violations

__all__ = [
    "FAR_NS",
    "Attempt",
    "AuditEntry",
    "CacheRead",
    "Cancelled",
    "Commits",
    "Frame",
    "History",
    "Lend",
    "Records",
    "Run",
    "Stored",
    "Submission",
    "read_journal",
    "read_records",
    "violations",
]

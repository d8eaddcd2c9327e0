"""The store daemon: keeps objects by their SHA-256 and hands them to whom a task entitles.

| question | file |
|---|---|
| how does it start and stop | `__main__.py` |
| who is heard, and in which order things are done | `loop.py`, `wire.py`, `keys.py` |
| how does an object come in, how does it go out | `puts.py`, `gets.py`, `turns.py`, `credits.py` |
| who may read what, who may put how much | `rights.py`, `admission.py` |
| what survives a crash | `committer.py`, `index.py`, `local.py`, `partials.py`, `reconcile.py` |
| when does an object go | `collector.py`, `collection.py` |
"""

"""What `import remuda` gives in a worker whose interpreter has no remuda installed."""

import importlib

_HOME = {
    "File": "remuda.worker.files",
    "current": "remuda.worker.current",
    "register_type": "remuda.worker.values",
    "Record": "remuda.worker.values",
    "NotEncodable": "remuda.worker.values",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(
        f"remuda.{name} needs the whole package in this interpreter: pip install remuda"
    )

"""Which kind of failure do an exception, or words on standard error, show?

Two tables, types of exceptions and texts, from which a code follows. A code here changes what is
done about a failure (another card, another node, another wait), so an entry must leave no doubt:
what is merely likely stays `exception` or `exit_code`.
"""

from __future__ import annotations

import errno
import re

OUT_OF_MEMORY = "out_of_memory"
GPU_OUT_OF_MEMORY = "gpu_out_of_memory"
DISK_FULL = "disk_full"
NETWORK = "network"
PLAIN = ""
"""A type that is none of these although one of its bases is."""

KERNEL_SAYS = {
    "cgroup": "the kernel's out-of-memory killer ended a process of it",
    "host": "the kernel's out-of-memory killer was at work on this host at that time",
}
"""What the kernel's counts show, by the word for it in `Finished.memory_evidence`."""

CHAIN_MAX = 8
TEXT_CHARS_MAX = 64 << 10

_TYPES: dict[str, tuple[str, ...]] = {
    OUT_OF_MEMORY: ("builtins.MemoryError", "numpy._ArrayMemoryError"),
    GPU_OUT_OF_MEMORY: ("torch.OutOfMemoryError", "cupy.OutOfMemoryError"),
    NETWORK: (
        "builtins.ConnectionError",
        "builtins.ConnectionRefusedError",
        "builtins.ConnectionResetError",
        "builtins.ConnectionAbortedError",
        "socket.timeout",
        "socket.gaierror",
        "socket.herror",
        "ssl.SSLEOFError",
        "ssl.SSLZeroReturnError",
        "http.IncompleteRead",
        "http.RemoteDisconnected",
        "urllib.URLError",
        "urllib3.TimeoutError",
        "urllib3.ReadTimeoutError",
        "urllib3.ConnectTimeoutError",
        "urllib3.NewConnectionError",
        "urllib3.NameResolutionError",
        "urllib3.MaxRetryError",
        "urllib3.ProtocolError",
        "requests.ConnectionError",
        "requests.ConnectTimeout",
        "requests.ReadTimeout",
        "requests.Timeout",
        "requests.ChunkedEncodingError",
        "httpx.NetworkError",
        "httpx.ConnectError",
        "httpx.ReadError",
        "httpx.TimeoutException",
        "httpx.ConnectTimeout",
        "httpx.ReadTimeout",
        "httpx.RemoteProtocolError",
        "aiohttp.ClientConnectionError",
        "aiohttp.ClientConnectorError",
        "aiohttp.ServerDisconnectedError",
        "aiohttp.ServerTimeoutError",
        "aiohttp.ClientPayloadError",
    ),
    # An answer of a server, a certificate, a child that closed its pipe: another try ends alike.
    PLAIN: (
        "builtins.BrokenPipeError",
        "urllib.HTTPError",
        "requests.SSLError",
        "requests.InvalidProxyURL",
        "aiohttp.ClientSSLError",
        "aiohttp.ClientConnectorCertificateError",
    ),
}
"""Of a class or one of its bases: top-level package and name."""

TEXTS: dict[str, tuple[str, ...]] = {
    GPU_OUT_OF_MEMORY: (
        "CUDA out of memory",
        "CUDA error: out of memory",
        "cudaErrorMemoryAllocation",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "HIP out of memory",
        "hipErrorOutOfMemory",
        "RESOURCE_EXHAUSTED: Out of memory",
        "CUDNN_STATUS_ALLOC_FAILED",
        "cudaMalloc failed: out of memory",
        "CUDA failure 2: out of memory",
        "by allocator GPU_",
    ),
    OUT_OF_MEMORY: (
        "std::bad_alloc",
        "Cannot allocate memory",
        "DefaultCPUAllocator: can't allocate memory",
        "DefaultCPUAllocator: not enough memory",
        "java.lang.OutOfMemoryError",
        "JavaScript heap out of memory",
    ),
    DISK_FULL: ("No space left on device", "Disk quota exceeded"),
}
"""Words that libraries and the C library use for this and for nothing else, compared exactly."""

_ERRNOS: dict[int, str] = {
    errno.ENOMEM: OUT_OF_MEMORY,
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.ENETUNREACH: NETWORK,
    errno.ENETDOWN: NETWORK,
    errno.EHOSTUNREACH: NETWORK,
    errno.EHOSTDOWN: NETWORK,
    errno.ETIMEDOUT: NETWORK,
}
_CODE_OF_TYPE = {name: code for code, names in _TYPES.items() for name in names}
_TRACEBACK = "Traceback (most recent call last):"
_CAUSE = "The above exception was the direct cause of the following exception:"
_EXCEPTION = re.compile(r"([A-Za-z_][\w.]{0,200})(?:: .*)?")


def code_of(error: BaseException) -> str:
    """Return the code of an exception, or of what it was raised from; `exception` for the rest."""
    each: BaseException | None = error
    for _ in range(CHAIN_MAX):
        if each is None:
            break
        code = _code_of_one(each)
        if code:
            return code
        each = each.__cause__
    return "exception"


def code_in(text: str) -> tuple[str, str]:
    """Return code and words of the last thing in a text that the tables know; "" for none.

    A program that ends with a Python traceback says with it what it was, whatever it said before.
    """
    text = text[-TEXT_CHARS_MAX:]
    found = max(
        (text.rfind(words), code, words) for code, list_ in TEXTS.items() for words in list_
    )
    at, code, words = found
    begun = text.rfind(_TRACEBACK)
    if begun > at:
        name = _raised(text, begun)
        return _CODE_OF_TYPE.get(_short(name), ""), name
    return (code, words) if at >= 0 else ("", "")


def _raised(text: str, begun: int) -> str:
    """Return the exception that a program ended with, or the known one that it was raised from."""
    name = ""
    for _ in range(CHAIN_MAX):
        lines = text[begun:].splitlines()[1:]
        last = next((line for line in lines if line and not line.startswith(" ")), "")
        match = _EXCEPTION.fullmatch(last)
        name = match.group(1) if match is not None else ""
        before = text[:begun].rstrip()
        if _CODE_OF_TYPE.get(_short(name)) or not before.endswith(_CAUSE):
            break
        begun = before.rfind(_TRACEBACK)
    return name


def _code_of_one(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return _ERRNOS[error.errno]
    for kind in type(error).__mro__:
        code = _CODE_OF_TYPE.get(_short(f"{kind.__module__}.{kind.__qualname__}"))
        if code is not None:
            return code
    # `socket.timeout` is TimeoutError since 3.10, and so are others: its words tell.
    if isinstance(error, TimeoutError) and error.args == ("timed out",):
        return NETWORK
    try:
        return code_in(str(error))[0]
    except Exception:  # noqa: BLE001 - the user's own __str__
        return ""


def _short(name: str) -> str:
    """Name a class by top-level package and own name: where it lies between may change."""
    package, _, rest = name.rpartition(".")
    return f"{package.partition('.')[0] or 'builtins'}.{rest}"

"""Answer what NVML says about this host's GPUs, as a process that may be killed at any moment.

Started by `probe.py` as `python -I nvml_child.py [SCRIPTED]`: each line on stdin asks for one
reading, each answer is one JSON line on stdout, and the end of stdin ends it. NVML can block for
ever inside the driver; here that stops nobody but this process. `SCRIPTED` is a Python file that
is used in place of `pynvml`. Only the standard library and `pynvml` are imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

PROCESSES_PER_GPU_MAX = 256
GPUS_MAX = 128
ANCESTORS_MAX = 64
MILLIWATTS = 1000
HIDDEN = "hidden process"  # stands for the name of one whose /proc may not be read
EVENTS_PER_READING_MAX = 32
XID_DOUBLE_BIT_ECC = 48  # the event of its own says the same as this XID
# The inode number that Linux gives to the first pid namespace of a host.
FIRST_PID_NAMESPACE = "pid:[4026531836]"


def load_nvml(scripted: str | None) -> ModuleType:
    """Import `pynvml`, or the file that plays its part."""
    if scripted is None:
        return importlib.import_module("pynvml")
    spec = importlib.util.spec_from_file_location("scripted_nvml", scripted)
    if spec is None or spec.loader is None:
        raise ImportError(f"{scripted} cannot be loaded as a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Nvml:
    """Read every GPU through one NVML session, opened again after a failure."""

    def __init__(self, nvml: ModuleType) -> None:
        self._nvml = nvml
        self._open = False
        self._events: dict[int, Any] = {}  # one set per card: an event then needs no name
        # NVML in a container may list no process at all, or pids of another namespace: only the
        # first namespace, or a listed pid that exists here, shows that pids can be believed.
        declared = getattr(nvml, "PIDS_VISIBLE", None)
        self._pids_believed = _in_first_pid_namespace() if declared is None else bool(declared)
        self._pids_may_be_learned = declared is None

    def reading(self) -> dict[str, Any]:
        """Return one reading; a failure of the whole library is a reading with a reason."""
        try:
            if not self._open:
                self._nvml.nvmlInit()
                self._open = True
            return self._read()
        except self._nvml.NVMLError as error:
            self._close()
            return _empty(str(error))

    def _close(self) -> None:
        self._events.clear()
        if self._open:
            self._open = False
            try:
                self._nvml.nvmlShutdown()
            except self._nvml.NVMLError:
                return  # the next reading opens a new session in any case

    def _read(self) -> dict[str, Any]:
        driver = _text(self._nvml.nvmlSystemGetDriverVersion())
        gpus: list[dict[str, Any]] = []
        lost: list[dict[str, Any]] = []
        for number in range(min(self._nvml.nvmlDeviceGetCount(), GPUS_MAX)):
            try:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(number)
                self._listen(handle, number)
                gpus.extend(self._card(handle, number, driver))
            except self._nvml.NVMLError as error:
                is_gone = isinstance(error, self._nvml.NVMLError_GpuIsLost)
                lost.append({"index": number, "error": str(error), "is_gone": is_gone})
        xids = [{"index": n, "xid": xid} for n in sorted(self._events) for xid in self._heard(n)]
        return {"driver": driver, "gpus": gpus, "lost": lost, "xids": xids, "reason": ""}

    def _listen(self, handle: Any, number: int) -> None:
        """Have the driver keep a card's critical events for us, where it can."""
        if number in self._events:
            return
        nvml = self._nvml
        self._events[number] = None
        try:
            wanted = nvml.nvmlEventTypeXidCriticalError | nvml.nvmlEventTypeDoubleBitEccError
            wanted &= nvml.nvmlDeviceGetSupportedEventTypes(handle)
            events = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(handle, wanted, events)
            self._events[number] = events
        except nvml.NVMLError:
            return  # not on this card, not with this driver or not in this container

    def _heard(self, number: int) -> list[int]:
        """Return the XIDs of a card since the last reading."""
        nvml = self._nvml
        found: list[int] = []
        while self._events[number] is not None and len(found) < EVENTS_PER_READING_MAX:
            try:
                event = nvml.nvmlEventSetWait_v2(self._events[number], 0)
            except nvml.NVMLError:
                break  # a timeout: nothing more; or a lost card, which its reading tells
            is_xid = event.eventType & nvml.nvmlEventTypeXidCriticalError
            found.append(int(event.eventData) if is_xid else XID_DOUBLE_BIT_ECC)
        return found

    def _card(self, handle: Any, number: int, driver: str) -> list[dict[str, Any]]:
        nvml = self._nvml
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        card = {
            "index": number,  # NVML counts in the order of the PCI bus
            "cc": major * 10 + minor,
            "driver": driver,
            "bus": _text(nvml.nvmlDeviceGetPciInfo(handle).busId),
            "temperature_c": self._optional(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            "utilisation_percent": self._optional(
                lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            ),
            "power_w": self._extra(lambda: nvml.nvmlDeviceGetPowerUsage(handle) // MILLIWATTS),
            **self._health(handle),
        }
        slices = self._mig_handles(handle)
        if slices is None:
            return [card | self._device(handle) | {"mig": False, "parent_uuid": ""}]
        parent = _text(nvml.nvmlDeviceGetUUID(handle))
        return [card | self._device(mig) | {"mig": True, "parent_uuid": parent} for mig in slices]

    def _health(self, handle: Any) -> dict[str, Any]:
        """Return what tells how a card is; None where it does not."""
        nvml = self._nvml
        mode = self._extra(lambda: nvml.nvmlDeviceGetEccMode(handle)[0])
        remapped = self._extra(lambda: nvml.nvmlDeviceGetRemappedRows(handle)) or (0, 0, 0, 0)
        retiring = self._extra(lambda: nvml.nvmlDeviceGetRetiredPagesPendingStatus(handle))
        return {
            "ecc": None if mode is None else mode == nvml.NVML_FEATURE_ENABLED,
            "ecc_errors": self._extra(
                lambda: nvml.nvmlDeviceGetTotalEccErrors(
                    handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                )
            ),
            "is_repair_pending": bool(remapped[2]) or retiring == nvml.NVML_FEATURE_ENABLED,
            "has_repair_failed": bool(remapped[3]),
            "slowed_by": self._slowed_by(handle),
        }

    def _slowed_by(self, handle: Any) -> list[str]:
        """Say what slows a card down beside its own power limit, which is as it should be."""
        nvml = self._nvml
        found = self._extra(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) or 0
        words = {
            nvml.nvmlClocksThrottleReasonHwThermalSlowdown: "heat (hardware)",
            nvml.nvmlClocksThrottleReasonSwThermalSlowdown: "heat",
            nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "the power brake of its host",
        }
        named = [word for bit, word in words.items() if found & bit]
        # The bit for any slowdown by hardware is set with each of those by hardware.
        if found & nvml.nvmlClocksThrottleReasonHwSlowdown and not named:
            return ["its hardware"]
        return named

    def _mig_handles(self, handle: Any) -> list[Any] | None:
        """Return the MIG devices of a card, or None where MIG is off or unknown to it."""
        nvml = self._nvml
        mode = self._optional(lambda: nvml.nvmlDeviceGetMigMode(handle)[0])
        if mode != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        found = []
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))
            except nvml.NVMLError_NotFound:
                continue  # this place on the card holds no MIG device
        return found

    def _device(self, handle: Any) -> dict[str, Any]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        processes, visible = self._processes(handle)
        return {
            "uuid": _text(self._nvml.nvmlDeviceGetUUID(handle)),
            "name": _text(self._nvml.nvmlDeviceGetName(handle)),
            "memory_bytes": int(memory.total),
            "memory_free_bytes": int(memory.free),
            "processes": processes,
            "pids_visible": visible,
        }

    def _processes(self, handle: Any) -> tuple[list[dict[str, Any]], bool]:
        nvml = self._nvml
        found: dict[int, dict[str, Any]] = {}
        asked = 0
        for name in ("Compute", "MPSCompute", "Graphics"):
            try:
                for process in getattr(nvml, f"nvmlDeviceGet{name}RunningProcesses")(handle):
                    pid = int(process.pid)
                    known = found.setdefault(pid, {"pid": pid, "compute": name != "Graphics"})
                    known["memory_bytes"] = process.usedGpuMemory
                asked += name != "MPSCompute"
            except (nvml.NVMLError, AttributeError):
                continue  # not told for this kind of process: `asked` says so
        if self._pids_may_be_learned and found and all(map(_exists, found)):
            self._pids_believed = True
        accounts = self._extra(lambda: nvml.nvmlDeviceGetAccountingMode(handle))
        processes = []
        for pid in sorted(found)[:PROCESSES_PER_GPU_MAX]:
            peak = self._accounted(handle, pid) if accounts == nvml.NVML_FEATURE_ENABLED else None
            processes.append(found[pid] | _standing(pid) | {"peak_bytes": peak})
        return processes, asked > 0 and self._pids_believed

    def _extra(self, ask: Callable[[], Any]) -> Any:
        """Return what a card says, None where it says nothing; raise only for one that is lost."""
        try:
            return ask()
        except self._nvml.NVMLError_GpuIsLost:
            raise
        except self._nvml.NVMLError:
            return None

    def _accounted(self, handle: Any, pid: int) -> int | None:
        """Return the most that a process ever held, which the driver knows where it keeps book."""
        peak = self._extra(
            lambda: self._nvml.nvmlDeviceGetAccountingStats(handle, pid).maxMemoryUsage
        )
        return None if peak is None else int(peak)

    def _optional(self, ask: Callable[[], int]) -> int | None:
        try:
            return int(ask())
        except (
            self._nvml.NVMLError_NotSupported,
            self._nvml.NVMLError_FunctionNotFound,
            self._nvml.NVMLError_NoPermission,
        ):
            return None


def _empty(reason: str) -> dict[str, Any]:
    return {"driver": "", "gpus": [], "lost": [], "xids": [], "reason": reason}


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _standing(pid: int) -> dict[str, Any]:
    """Return a process's name and the processes above it, its parent first; none once it ended."""
    above: list[int] = []
    name, at = "", pid
    while at > 1 and len(above) < ANCESTORS_MAX:
        try:
            stat = Path(f"/proc/{at}/stat").read_bytes()
        except OSError:  # it ended meanwhile, or this host shows nobody the processes of others
            name = name or (HIDDEN if _is_there(pid) else "")
            break
        opening, closing = stat.index(b"("), stat.rindex(b")")
        if at == pid:
            name = stat[opening + 1 : closing].decode(errors="replace")
        at = int(stat[closing + 2 :].split()[1])
        above.append(at)
    return {"name": name, "above": above}


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _in_first_pid_namespace() -> bool:
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == FIRST_PID_NAMESPACE
    except OSError:
        return False


def main(arguments: list[str]) -> None:
    """Answer one reading per line asked, until stdin ends."""
    try:
        session = Nvml(load_nvml(arguments[0] if arguments else None))
        read = session.reading
    except (ImportError, OSError, SyntaxError) as error:
        reason = f"NVML could not be loaded: {error}"

        def read() -> dict[str, Any]:
            return _empty(reason)

    for _ in sys.stdin:
        sys.stdout.write(json.dumps(read()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

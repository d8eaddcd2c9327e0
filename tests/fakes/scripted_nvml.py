"""Play the part of `pynvml` from a JSON scenario file: the one fake of the test suite.

The probe's child loads this file when `REMUDA_NVML` names it; `REMUDA_NVML_SCENARIO` names the
scenario, which is read again for every reading, so that a test may change it while agents run:

    {"driver": "550.54.14",
     "hang_s": 0, "error": "", "garbage": "", "exit": false, "pids_visible": true,
     "gpus": [{"uuid": "GPU-...", "name": "Fake 24", "memory_bytes": ..., "memory_free_bytes": ...,
               "cc": 86, "bus": "00000000:01:00.0", "temperature_c": 40, "utilisation_percent": 0,
               "power_w": 60, "processes": [{"pid": 1, "memory_bytes": 5, "graphics": false}],
               "accounting": {"1": 7}, "error": "", "mig": [{...}, ...],
               "ecc_errors": 0, "repair_pending": false, "repair_failed": false,
               "throttled": ["HwThermalSlowdown"], "xids": [[1, 79]], "no_events": false}]}

Every key of a GPU but `uuid` has a default. `error` is the name of an NVML error, such as
"GpuIsLost"; a `mig` list, even an empty one, means that MIG is enabled. `ecc_errors` null means
that the card has no ECC. Each of `xids` has a number of its own, by which it is told once.
"""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

NVML_TEMPERATURE_GPU = 0
NVML_DEVICE_MIG_ENABLE = 1
NVML_FEATURE_ENABLED = 1
NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
NVML_VOLATILE_ECC = 0
MEMORY_BYTES = 24 * 1024**3
nvmlEventTypeDoubleBitEccError = 2  # noqa: N816 - pynvml's name
nvmlEventTypeXidCriticalError = 8  # noqa: N816 - pynvml's name
nvmlClocksThrottleReasonSwPowerCap = 4  # noqa: N816 - pynvml's name
nvmlClocksThrottleReasonHwSlowdown = 8  # noqa: N816 - pynvml's name
nvmlClocksThrottleReasonSwThermalSlowdown = 32  # noqa: N816 - pynvml's name
nvmlClocksThrottleReasonHwThermalSlowdown = 64  # noqa: N816 - pynvml's name
nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 128  # noqa: N816 - pynvml's name


class NVMLError(Exception):
    pass


class NVMLError_NotFound(NVMLError):  # noqa: N801, N818 - pynvml's name
    pass


class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818 - pynvml's name
    pass


class NVMLError_FunctionNotFound(NVMLError):  # noqa: N801, N818 - pynvml's name
    pass


class NVMLError_NoPermission(NVMLError):  # noqa: N801, N818 - pynvml's name
    pass


class NVMLError_GpuIsLost(NVMLError):  # noqa: N801, N818 - pynvml's name
    def __str__(self):
        return "GPU is lost"


class NVMLError_Timeout(NVMLError):  # noqa: N801, N818 - pynvml's name
    pass


class NVMLError_Unknown(NVMLError):  # noqa: N801, N818 - pynvml's name
    pass


class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, N818 - pynvml's name
    def __str__(self):
        return "NVML Shared Library Not Found"


def _load():
    with Path(os.environ["REMUDA_NVML_SCENARIO"]).open() as file:
        return json.load(file)


def _raise(name):
    if name:
        raise globals().get(f"NVMLError_{name}", NVMLError)(name)


_scenario = _load()
PIDS_VISIBLE = _scenario.get("pids_visible", True)


def nvmlInit():  # noqa: N802 - pynvml's name
    _refresh()


def nvmlShutdown():  # noqa: N802 - pynvml's name
    pass


def _refresh():
    global _scenario
    _scenario = _load()
    if _scenario.get("exit"):
        os._exit(3)
    if _scenario.get("garbage"):
        sys.stdout.write(_scenario["garbage"] + "\n")
        sys.stdout.flush()
    time.sleep(_scenario.get("hang_s", 0))
    _raise(_scenario.get("error"))


def nvmlSystemGetDriverVersion():  # noqa: N802 - pynvml's name
    _refresh()
    return _scenario.get("driver", "550.54.14")


def nvmlDeviceGetCount():  # noqa: N802 - pynvml's name
    return len(_scenario["gpus"])


def nvmlDeviceGetHandleByIndex(index):  # noqa: N802 - pynvml's name
    card = _scenario["gpus"][index]
    _raise(card.get("error"))
    return {"bus": f"00000000:{index + 1:02X}:00.0", **card}


def nvmlDeviceGetCudaComputeCapability(card):  # noqa: N802 - pynvml's name
    return divmod(card.get("cc", 86), 10)


def nvmlDeviceGetPciInfo(card):  # noqa: N802 - pynvml's name
    return SimpleNamespace(busId=card["bus"])


def nvmlDeviceGetTemperature(card, sensor):  # noqa: N802 - pynvml's name
    assert sensor == NVML_TEMPERATURE_GPU
    return card.get("temperature_c", 40)


def nvmlDeviceGetUtilizationRates(card):  # noqa: N802 - pynvml's name
    if "mig" in card:
        raise NVMLError_NotSupported
    return SimpleNamespace(gpu=card.get("utilisation_percent", 0))


def nvmlDeviceGetPowerUsage(card):  # noqa: N802 - pynvml's name
    return card.get("power_w", 60) * 1000


def nvmlDeviceGetAccountingMode(card):  # noqa: N802 - pynvml's name
    return int("accounting" in card)


def nvmlDeviceGetAccountingStats(card, pid):  # noqa: N802 - pynvml's name
    if str(pid) not in card["accounting"]:
        raise NVMLError_NotFound
    return SimpleNamespace(maxMemoryUsage=card["accounting"][str(pid)])


def nvmlDeviceGetMigMode(card):  # noqa: N802 - pynvml's name
    if "mig" not in card:
        raise NVMLError_NotSupported
    return [NVML_DEVICE_MIG_ENABLE, NVML_DEVICE_MIG_ENABLE]


def nvmlDeviceGetMaxMigDeviceCount(card):  # noqa: N802 - pynvml's name
    return max(7, len(card["mig"]))


def nvmlDeviceGetMigDeviceHandleByIndex(card, index):  # noqa: N802 - pynvml's name
    if index >= len(card["mig"]):
        raise NVMLError_NotFound
    return card["mig"][index]


def nvmlDeviceGetMemoryInfo(card):  # noqa: N802 - pynvml's name
    total = card.get("memory_bytes", MEMORY_BYTES)
    return SimpleNamespace(total=total, free=card.get("memory_free_bytes", total))


def nvmlDeviceGetUUID(card):  # noqa: N802 - pynvml's name
    return card["uuid"]


def nvmlDeviceGetName(card):  # noqa: N802 - pynvml's name
    return card.get("name", "Scripted GPU")


def _processes(card, *, graphics):
    return [
        SimpleNamespace(pid=process["pid"], usedGpuMemory=process.get("memory_bytes"))
        for process in card.get("processes", [])
        if process.get("graphics", False) == graphics
    ]


def nvmlDeviceGetComputeRunningProcesses(card):  # noqa: N802 - pynvml's name
    return _processes(card, graphics=False)


def nvmlDeviceGetMPSComputeRunningProcesses(card):  # noqa: N802 - pynvml's name
    return []


def nvmlDeviceGetGraphicsRunningProcesses(card):  # noqa: N802 - pynvml's name
    return _processes(card, graphics=True)


def nvmlDeviceGetEccMode(card):  # noqa: N802 - pynvml's name
    if card.get("ecc_errors", 0) is None:
        raise NVMLError_NotSupported
    return [NVML_FEATURE_ENABLED, NVML_FEATURE_ENABLED]


def nvmlDeviceGetTotalEccErrors(card, kind, counter):  # noqa: N802 - pynvml's name
    assert (kind, counter) == (NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC)
    nvmlDeviceGetEccMode(card)
    return card.get("ecc_errors", 0)


def nvmlDeviceGetRemappedRows(card):  # noqa: N802 - pynvml's name
    return (0, 0, int(card.get("repair_pending", False)), int(card.get("repair_failed", False)))


def nvmlDeviceGetRetiredPagesPendingStatus(card):  # noqa: N802 - pynvml's name
    raise NVMLError_NotSupported


def nvmlDeviceGetCurrentClocksThrottleReasons(card):  # noqa: N802 - pynvml's name
    return sum(globals()[f"nvmlClocksThrottleReason{each}"] for each in card.get("throttled", []))


def nvmlDeviceGetSupportedEventTypes(card):  # noqa: N802 - pynvml's name
    if card.get("no_events"):
        raise NVMLError_NotSupported
    return nvmlEventTypeXidCriticalError | nvmlEventTypeDoubleBitEccError


def nvmlEventSetCreate():  # noqa: N802 - pynvml's name
    return SimpleNamespace(uuid="", told=set())


def nvmlDeviceRegisterEvents(card, wanted, events):  # noqa: N802 - pynvml's name
    assert wanted == nvmlEventTypeXidCriticalError | nvmlEventTypeDoubleBitEccError
    events.uuid = card["uuid"]
    events.told.update(number for number, _ in card.get("xids", []))


def nvmlEventSetWait_v2(events, timeout_ms):  # noqa: N802 - pynvml's name
    assert timeout_ms == 0
    cards = [card for card in _scenario["gpus"] if card["uuid"] == events.uuid]
    for number, xid in (each for card in cards for each in card.get("xids", [])):
        if number not in events.told:
            events.told.add(number)
            return SimpleNamespace(eventType=nvmlEventTypeXidCriticalError, eventData=xid)
    raise NVMLError_Timeout

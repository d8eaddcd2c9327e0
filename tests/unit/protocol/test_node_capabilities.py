"""Is a node's statement about itself taken whole or refused, whatever it says?"""

import pytest
from hypothesis import given, settings

from remuda.protocol import codec
from remuda.protocol.capabilities import Capabilities, Gpu, Handler, from_document, to_document

from ...fakes.hostile import documents

GIB = 1 << 30
FULL = Capabilities(
    2_000,
    8 * GIB,
    [Gpu("GPU-1", "NVIDIA L4", 24 * GIB, 20 * GIB, 89, 0, driver="560"), Gpu("MIG-1", "H100", GIB)],
    [Handler("repair", ["lama"], 2, GIB, "failed", "no file", ["GPU-1"])],
    {"zone": "a"},
    "host",
    "0.1",
    ["NVML hides pids"],
    {"kernel": "6.1"},
)


def test_a_statement_comes_back_from_the_wire() -> None:
    blob = codec.pack_document(to_document(FULL))
    assert FULL == from_document(codec.unpack_document(blob))


def test_what_a_newer_node_adds_is_dropped() -> None:
    document = to_document(FULL)
    document["gpus"][0]["fans"] = 2
    assert FULL == from_document({**document, "fans": 2})


@given(documents)
@settings(derandomize=True, deadline=None)
def test_a_random_document_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="capabilities"):
        from_document(document)


def gpu(**fields: object) -> dict[str, object]:
    return {"gpus": [{"uuid": "GPU-1", "name": "L4", "memory_bytes": GIB, **fields}]}


HOSTILE: dict[str, dict[str, object]] = {
    "CPUs below zero": {"cpus_milli": -1},
    "CPUs as text": {"cpus_milli": "2000"},
    "CPUs as a bool": {"cpus_milli": True},
    "CPUs as a float": {"cpus_milli": 2000.0},
    "memory over 62 bits": {"memory_bytes": 1 << 62},
    "no CPUs": {"cpus_milli": None},
    "GPUs as a map": {"gpus": {}},
    "a GPU as text": {"gpus": ["GPU-1"]},
    "a GPU without a name": {"gpus": [{"uuid": "GPU-1"}]},
    "a GPU with memory below zero": gpu(memory_bytes=-1),
    "a GPU whose MIG is a number": gpu(mig=1),
    "a GPU with a long name": gpu(name="x" * 4_097),
    "one UUID twice": {"gpus": [*gpu()["gpus"], *gpu()["gpus"]]},  # type: ignore[misc]  # lists
    "too many GPUs": {"gpus": [{"uuid": str(i), "name": "", "memory_bytes": 0} for i in range(65)]},
    "handlers as text": {"handlers": "repair"},
    "a handler without a name": {"handlers": [{"workers": 1}]},
    "a handler with models that are numbers": {"handlers": [{"name": "r", "models": [1]}]},
    "a handler with workers below zero": {"handlers": [{"name": "r", "workers": -1}]},
    "too many handlers": {"handlers": [{"name": str(i)} for i in range(65)]},
    "labels as a list": {"labels": ["a"]},
    "a label that is a number": {"labels": {"a": 1}},
    "too many labels": {"labels": {str(i): "" for i in range(65)}},
    "notes that are bytes": {"notes": [b"x"]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="capabilities"):
        from_document({**to_document(FULL), **HOSTILE[name]})

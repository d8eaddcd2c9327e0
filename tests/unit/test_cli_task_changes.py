"""Is what `task retry --set` says read as the options that it names?"""

import pytest

from remuda.cli.task_changes import changed_options
from remuda.protocol.errors import Invalid


def test_each_text_changes_an_option():
    wanted = ["vram=24GiB", "gpu-type=", "or=gpus=2,gpu-type=L4", "or=gpus=0", "node="]
    assert {
        "vram": "",
        "vram_bytes": 24 << 30,
        "gpu_type": "",
        "alternatives": [{"gpus": 2, "gpu_type": "L4"}, {}],
        "nodes": [],
    } == changed_options(wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (["vram"], "write it like --set vram=24GiB"),
        (["colour=red"], "is not an option of a task"),
        (["vram=24GiB", "vram=12GiB"], "is given twice"),
        (["once=key"], "belongs to a submission"),
        (["vram=lots"], "is not a size"),
    ],
)
def test_what_is_no_change_is_refused(text, said):
    with pytest.raises(Invalid, match=said):
        changed_options(text)

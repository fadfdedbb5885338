"""How the C library's allocator keeps memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ALLOCATE_AND_FREE = """
import resource
from edge.host.heap import keep_freed_memory
{setting}
import numpy as np
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones((100, 1024, 1024), np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults_of_the_second_round(setting: str) -> int:
    script = ALLOCATE_AND_FREE.format(setting=setting)
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_asking_the_kernel() -> None:
    assert faults_of_the_second_round("keep_freed_memory()") < faults_of_the_second_round("") / 5

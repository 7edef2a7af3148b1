import subprocess
import sys
from pathlib import Path

import pytest

# Four threads that take memory at the same time, and what the C library says of its heaps.
PROGRAM = """
import ctypes, re, sys, threading
sys.path.insert(0, {root!r})
from tmp.threads import share_one_heap
if {shared}:
    share_one_heap()
barrier = threading.Barrier(4)
def work():
    barrier.wait()
    [bytearray(1000) for _ in range(1000)]
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fdopen.restype = ctypes.c_void_p
libc.fflush.argtypes = [ctypes.c_void_p]
stream = libc.fdopen(1, b"w")
libc.malloc_info(0, stream)
libc.fflush(stream)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc_info is on Linux only")
@pytest.mark.parametrize("shared", [True, False])
def test_threads_share_one_heap_once_told_to(shared: bool) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(root=root, shared=shared)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "malloc_info" in done.stderr:
        pytest.skip("this libc has no malloc_info")
    heaps = done.stdout.count("<heap nr=")
    assert (heaps == 1) if shared else (heaps > 1)

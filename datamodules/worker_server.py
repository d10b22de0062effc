"""What the server that starts workers imports first; meant for nothing else, and elsewhere without effect.

On Linux, Python 3.14 and later start processes by a server (`multiprocessing`'s "forkserver"). Its processes need not
import what the server has imported.
"""

import multiprocessing
import os
import signal
import sys

# A batch system sends SIGTERM to all processes at once. The run still needs its workers, which end when the server
# does; the server ends with the run. Its command is all by which it can be told from other processes.
if multiprocessing.parent_process() is None and any("multiprocessing.forkserver" in arg for arg in sys.orig_argv):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))

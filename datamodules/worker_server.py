"""What the server that starts workers imports first; meant for nothing else, and elsewhere without effect.

On Linux, Python 3.14 and later start processes by a server (`multiprocessing`'s "forkserver"). Its processes need not
import what the server has imported.
"""

import os
import signal

__all__ = ["CLIENT"]

CLIENT = "PCPAD_SERVED_PROCESS"
"""The environment variable with the number of the process that the server works for."""

# A batch system sends SIGTERM to all processes at once. The run still needs its workers, which end when the server
# does; the server ends with the run.
if os.environ.get(CLIENT) == str(os.getppid()):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))

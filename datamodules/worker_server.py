"""What the server that starts workers imports first; meant for nothing else.

On Linux, Python 3.14 and later start processes by a server (`multiprocessing`'s "forkserver"). Its processes need not
import what the server has imported.
"""

import os
import signal

# A batch system sends SIGTERM to all processes at once. The run still needs its workers, which end when the server
# does; the server ends with the run. Nothing else imports this module, or the run itself could not be stopped.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))

"""What the server that starts workers imports first; meant for nothing else.

On Linux, Python 3.14 and later start processes by a server (`multiprocessing`'s "forkserver"). Its processes need not
import what the server has imported, and inherit which signals it ignores.
"""

import signal

# A batch system sends SIGTERM to all processes at once; the run still needs its workers, and these end when the server
# does. It ends with the run. Nothing else imports this module, or the run itself could not be stopped.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

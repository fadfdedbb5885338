"""Damaged inputs for the edge, each in a process with bounds on memory and time. `make fuzz`.

Set before numpy is imported: the process that forks the trials must have one thread.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

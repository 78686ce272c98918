"""Become COMMAND, and end when the process that started us ends, however it ends.

    python attached.py PARENT_PID COMMAND [ARGUMENT ...]

A demo killed with SIGKILL cannot stop what it started; the kernel can. PR_SET_PDEATHSIG survives
exec, so the command itself needs to know nothing of it. Linux only, like the house. The kernel
watches the *thread* that started us: start children from a thread that lives as long as they may.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGTERM at the parent's death, then exec."""
    parent_pid = int(sys.argv[1])
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:  # It died before we could ask.
        sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - our own command line, no shell wanted


if __name__ == "__main__":
    main()

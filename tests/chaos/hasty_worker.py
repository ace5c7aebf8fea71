"""Run as a script: the real worker, but for the grace, which is its first argument in seconds."""

import sys

import jobs.worker
from jobs.__main__ import run

if __name__ == "__main__":
    jobs.worker.GRACE_SECONDS = float(sys.argv[1])
    sys.exit(run())

"""`python -m tests.conformance`."""

import signal
import sys
from types import FrameType

from .run import main


def _exit_on(signum: int, _: FrameType | None) -> None:
    # As an exception, so that every child process is stopped on the way out.
    sys.exit(128 + signum)


signal.signal(signal.SIGTERM, _exit_on)
sys.exit(main())

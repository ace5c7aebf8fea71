"""`python -m jobs`: one worker process."""

import sys

import uvloop

from jobs.errors import JobsError
from jobs.limits import raise_file_limit, share_interpreter
from jobs.logs import configure_logging
from jobs.masking import secrets_of
from jobs.settings import InvalidSetting, Settings, read_settings
from jobs.worker import main


def run() -> int:
    """The worker's exit status: 0 after an orderly stop, 1 with one line on stderr."""
    status = 0
    try:
        settings = read_settings(Settings)
        configure_logging(settings.relay_log_format, secrets_of(settings))
        raise_file_limit()
        share_interpreter()
        uvloop.run(main(settings))
    except* (InvalidSetting, JobsError, OSError) as group:
        sys.stderr.write(f"persona-relay worker: {_first(group)}\n")
        status = 1
    return status


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    one = group.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one


if __name__ == "__main__":
    sys.exit(run())

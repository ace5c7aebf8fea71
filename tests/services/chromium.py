"""Where the installed Chromium is."""

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def find_chromium() -> Path | None:
    """Give the browser's path: `$CHROMIUM_PATH`, else what PATH has; None when there is none."""
    stated = os.environ.get("CHROMIUM_PATH")
    if stated:
        return Path(stated)
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None

"""Find nginx, which distributions put where a user's PATH does not lead."""

import shutil


def find_nginx() -> str | None:
    """The program; None when there is none."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

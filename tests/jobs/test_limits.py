"""What a process allows itself, seen in a process of its own."""

import subprocess
import sys

PROGRAM = """
import gc
from jobs.limits import NEW_OBJECTS, collect_rarely
collect_rarely()
assert gc.get_freeze_count() > 1_000, gc.get_freeze_count()
looks = []
gc.callbacks.append(lambda phase, info: looks.append(phase))
kept = [[] for _ in range(NEW_OBJECTS // 2)]
assert not looks
kept += [[] for _ in range(NEW_OBJECTS)]
assert looks
class Node: pass
node = Node()
node.itself = node
gone = []
import weakref
weakref.finalize(node, gone.append, True)
del node
kept += [[] for _ in range(2 * NEW_OBJECTS)]
assert gone
"""


def test_cycles_are_looked_for_among_many_new_objects_and_never_among_what_was_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""What each container runtime cannot do, and why: the tests of real tasks are the same on all of them but for this.

A test asks `self.lacks("limits")` and then asserts what happens instead. `test_runtimes.py` holds this table against what the embedded
AWS itself says at its start.
"""

import os

# "native" is as root. run.sh sets it.
RUNTIME = os.environ.get("HOIST_TEST_RUNTIME", "native")

# For each thing that may be lacking: the first words in which the embedded AWS says so, and whose nature it is, with the reason.
TABLE = {
    "limits": (
        "limits of memory, processor time and processes",
        {"rootless": "control groups are root's, where systemd hands none of version 2 to the user"},
    ),
    "users": ("users besides root", {"rootless": "a user without ranges in /etc/subuid and /etc/subgid has one id"}),
    "task limits": ("limits of all containers together", {"docker": "the engine knows containers, no groups of them"}),
    "security groups": ("security groups", {"docker": "the bridge is the engine's own"}),
}

# What the embedded AWS may say besides, because of this machine and not of the runtime.
MACHINE = ["a way out of this machine"]


def lacks(what):
    """Why tasks have no such thing on this runtime, or None."""
    return TABLE[what][1].get(RUNTIME)

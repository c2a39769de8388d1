"""Confinement of the ClickHouse library to the files that it needs, by Landlock (Linux 6.2 or later).

The library runs clickhouse-local, whose function `file()` opens any path for any user. The kernel refuses what ClickHouse does
not: other users' homes, Kafka's logs, the environment of every process.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
MIN_ABI = 3
NO_NEW_PRIVILEGES = 38
PATH_BENEATH = 1
READ_FILE, READ_DIRECTORY, WRITE_FILE, TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
ALL_RIGHTS = (1 << 15) - 1
FILE_RIGHTS = 1 | WRITE_FILE | READ_FILE | TRUNCATE
READ, WRITE = READ_FILE | READ_DIRECTORY, ALL_RIGHTS & ~1

SYSTEM_FILES = (
    "/usr", "/lib", "/lib64", "/sys", "/etc/hosts", "/etc/host.conf", "/etc/localtime", "/etc/nsswitch.conf", "/etc/resolv.conf",
    "/etc/ld.so.cache", "/etc/ssl", "/dev/null", "/dev/random", "/dev/urandom", "/proc/cpuinfo", "/proc/loadavg", "/proc/meminfo",
    "/proc/pressure", "/proc/stat", "/proc/sys", "/proc/uptime", "/proc/version", "/proc/self/auxv", "/proc/self/cgroup",
    "/proc/self/io", "/proc/self/maps", "/proc/self/stat", "/proc/self/statm", "/proc/self/status",
)  # fmt: skip


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def is_available() -> bool:
    """Return whether the kernel of this machine can confine a process."""
    return sys.platform == "linux" and int(_kernel().syscall(CREATE_RULESET, None, 0, 1)) >= MIN_ABI


def confine(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Restrict this process and its threads to these paths and the system's own. Return False where the kernel cannot."""
    if not is_available():
        return False
    kernel = _kernel()
    handled = ctypes.c_uint64(ALL_RIGHTS)
    rules = _check(kernel.syscall(CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0))
    for paths, rights in ((SYSTEM_FILES, READ), (readable, READ), (writable, WRITE)):
        for path in filter(os.path.exists, paths):
            _allow(kernel, rules, path, rights)
    _check(kernel.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _check(kernel.syscall(RESTRICT_SELF, rules, 0))
    os.close(rules)
    return True


def _kernel() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _allow(kernel: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    """Add one path. Its descriptor stays open, because a rule for a file of /proc ends with the last reference to it."""
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not stat.S_ISDIR(os.fstat(opened).st_mode):
        rights &= FILE_RIGHTS
    rule = _Rule(rights, opened)
    _check(kernel.syscall(ADD_RULE, rules, PATH_BENEATH, ctypes.byref(rule), 0))
    if not path.startswith("/proc/self/"):
        os.close(opened)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

"""Opening a file that a stranger may have put there: a regular file, or an error at once.

A pipe under the name of a shard would hang its reader for good, a device would fill memory.
Symbolic links are followed: the Hub's own cache is made of them.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open the regular file ``path`` for reading bytes. Raises OSError for anything else."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: Path, most: int) -> bytes:
    """Return the bytes of the regular file ``path``.

    Raises ValueError, which names the file, when it holds more than ``most`` bytes; OSError
    when it is no regular file or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"{path.name}: expected at most {most} bytes, got {size}")
        return file.read(size)  # read(most) would take memory for most bytes, whatever the size

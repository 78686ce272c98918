"""A small ext4 file system of its own, in a file: the only way to a disk that is truly full."""

import os
import subprocess
from pathlib import Path
from typing import Self

CHUNK_BYTES = 1024**2


class SmallDisk:
    """`with` makes and mounts it, and unmounts it whatever happens."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._image = folder / "disk.image"
        self._size_bytes = size_bytes
        self.path = folder / "disk"
        self._filler = self.path / "somebody-elses-file"

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(self._size_bytes)
        # No blocks set aside for root: the processes under test are root here, and nowhere else.
        _run("mkfs.ext4", "-q", "-m", "0", str(self._image))
        _run("mount", "-o", "loop", str(self._image), str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        # Lazily: a process that was not ended still holds it, and must not keep it mounted.
        _run("umount", "--lazy", str(self.path))
        self._image.unlink()

    @property
    def free_bytes(self) -> int:
        """What anybody may still take."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Take what is free, to the last byte that can be had, or down to `leave_bytes`."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (CHUNK_BYTES, 65_536, 4_096, 512):
                try:
                    while self.free_bytes > leave_bytes:
                        file.write(bytes(min(size, max(512, self.free_bytes - leave_bytes))))
                except OSError:
                    continue

    def give_back(self, size_bytes: int | None = None) -> None:
        """Give back some of what was taken, or all of it."""
        if size_bytes is None:
            self._filler.unlink(missing_ok=True)
        else:
            os.truncate(self._filler, max(0, self._filler.stat().st_size - size_bytes))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

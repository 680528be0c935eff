"""A root file system of its own for a process, as a container has: it cannot be written to but for
/tmp, and whoever runs in it is nobody in particular and can become nobody else.

It is put together from this machine's system folders in a mount namespace, which needs root on
Linux. What an image adds, its files, variables, user and command, is the caller's to say.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc")
DEVICES = ("null", "zero", "random", "urandom")


def can_seal() -> bool:
    """Whether a root of one's own can be made here."""
    return os.geteuid() == 0 and shutil.which("unshare") is not None


@dataclass(frozen=True)
class SealedRoot:
    """mount_point: an empty folder. folders: what is seen where, besides the system's folders."""

    mount_point: Path
    folders: Mapping[str, Path]
    environment: Mapping[str, str]
    user: int
    group: int
    working_folder: str

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a command in it, in namespaces that end with it."""
        return [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-euc",
            self._script(arguments),
        ]

    def _script(self, arguments: Sequence[str]) -> str:
        become = f"--reuid={self.user} --regid={self.group} --clear-groups --no-new-privs"
        start = f"cd {self.working_folder} && exec {shlex.join(arguments)}"
        variables = shlex.join(f"{name}={value}" for name, value in self.environment.items())
        return "\n".join(
            [
                f"root={shlex.quote(str(self.mount_point))}",
                'mount -t tmpfs -o mode=755 none "$root"',
                *self._system_folders(),
                *(_shown(source, target) for target, source in self.folders.items()),
                _shown(Path(sys.base_prefix), sys.base_prefix),
                'mkdir "$root/dev" "$root/proc" "$root/tmp"',
                *(
                    f'touch "$root/dev/{d}" && mount --bind /dev/{d} "$root/dev/{d}"'
                    for d in DEVICES
                ),
                'mount --rbind /proc "$root/proc"',
                'mount -o remount,bind,ro "$root"',
                'mount -t tmpfs -o mode=1777,size=64m,noexec,nosuid,nodev none "$root/tmp"',
                f'exec chroot "$root" setpriv {become} --bounding-set=-all '
                f"env -i {variables} sh -euc {shlex.quote(start)}",
            ]
        )

    def _system_folders(self) -> list[str]:
        """Links as they are, the rest shown where it is."""
        found = [Path("/", name) for name in SYSTEM if Path("/", name).exists()]
        return [
            f'cp -P {path} "$root{path}"' if path.is_symlink() else _shown(path, str(path))
            for path in found
        ]


def _shown(source: Path, target: str) -> str:
    """Commands that show a folder at a place in the new root, read-only."""
    place, origin = f'"$root"{shlex.quote(target)}', shlex.quote(str(source))
    return f"mkdir -p {place} && mount --bind {origin} {place} && mount -o remount,bind,ro {place}"

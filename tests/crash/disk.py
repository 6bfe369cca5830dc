"""A disk that loses its power: what it has then, out of what recorder.c saw a program do.

What was written and synced is there. What was written since the last sync is there or not, in any
order, in whole sectors or a part of them. A file that was made or removed since its folder was
synced is there or not. What a failed sync was to write may be lost for good, though the next sync
succeeds: the kernel has forgotten it.

A sync counts for what was written before it began, and a folder's names for themselves alone: a
file system may do more, and need not.
"""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Disk", "Record", "read_trace"]

_HEAD = struct.Struct("<cIIQQ")
SECTOR = 512


@dataclass(frozen=True, slots=True)
class Record:
    """What the recorder saw; its trace() tells of the kinds."""

    kind: str
    path: str
    thread: int = 0
    where: int = 0
    octets: bytes = b""


def read_trace(file: Path) -> Iterator[Record]:
    """Read what was recorded; the last record may be torn, since its program was killed."""
    data = file.read_bytes() if file.exists() else b""
    place = 0
    while place + _HEAD.size <= len(data):
        kind, thread, length, where, size = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        if place + length + size > len(data):
            return
        path = data[place : place + length].decode()
        place += length
        yield Record(kind.decode(), path, thread, where, data[place : place + size])
        place += size


@dataclass(slots=True, eq=False)
class _File:
    """What is safe of a file, and what is not: octets at a place, or a length."""

    safe: bytearray = field(default_factory=bytearray)
    open: list[tuple[int, bytes | None]] = field(default_factory=list)
    gone: int = 0  # how many were in `open` and are no more: others are counted from the first on

    def write(self, where: int, octets: bytes | None) -> None:
        if octets is None:
            del self.safe[where:]
            self.safe.extend(bytes(where - len(self.safe)))
            return
        self.safe.extend(bytes(max(0, where - len(self.safe))))
        self.safe[where : where + len(octets)] = octets

    def sync(self, number: int) -> None:
        """Have the first so many changes safe."""
        number = max(0, number - self.gone)
        for change in self.open[:number]:
            self.write(*change)
        del self.open[:number]
        self.gone += number

    def forget(self, number: int, dice: random.Random) -> None:
        """Lose some of the first so many changes for good."""
        number = max(0, number - self.gone)
        kept = [change for change in self.open[:number] if dice.random() < 0.5]
        self.open[:number] = kept
        self.gone += number - len(kept)

    def lose(self, dice: random.Random) -> None:
        """Keep some of what is not safe."""
        keeps = dice.choice((0.0, 0.5, 0.9))
        for where, octets in self.open:
            if dice.random() >= keeps:
                continue
            if octets is None or dice.random() < 0.7:
                self.write(where, octets)
                continue
            for at in range(0, len(octets), SECTOR):
                if dice.random() < 0.5:
                    self.write(where + at, octets[at : at + SECTOR])
        self.open.clear()


@dataclass(slots=True, eq=False)
class _Folder:
    """The names in a folder: as they are, as they are safe, and what happened in between."""

    names: dict[str, _File | _Folder] = field(default_factory=dict)
    safe: dict[str, _File | _Folder] = field(default_factory=dict)
    open: list[tuple[str, _File | _Folder | None]] = field(default_factory=list)
    gone: int = 0

    def change(self, name: str, thing: _File | _Folder | None) -> None:
        _put(self.names, name, thing)
        self.open.append((name, thing))

    def sync(self, number: int) -> None:
        number = max(0, number - self.gone)
        for change in self.open[:number]:
            _put(self.safe, *change)
        del self.open[:number]
        self.gone += number

    def forget(self, number: int, dice: random.Random) -> None:
        """A folder that could not be synced: a later sync finds it as it is."""

    def lose(self, dice: random.Random) -> None:
        keeps = dice.choice((0.0, 0.5, 1.0))
        stays: set[str] = set()
        for name, thing in self.open:
            if name not in stays and dice.random() < keeps:
                _put(self.safe, name, thing)
            else:
                stays.add(name)  # what happened to a name happens in its order
        self.open.clear()
        self.names = dict(self.safe)
        for thing in self.names.values():
            thing.lose(dice)


def _put(names: dict[str, _File | _Folder], name: str, thing: _File | _Folder | None) -> None:
    if thing is None:
        names.pop(name, None)
    else:
        names[name] = thing


class Disk:
    """A folder on it, empty at first.

    Args:
        dice: For what is lost.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._root = _Folder()
        self._syncing: dict[int, tuple[_File | _Folder, int]] = {}

    def do(self, record: Record) -> None:
        """Have happen what was recorded."""
        parent, name = self._find(record.path)
        thing = parent.names.get(name) if parent is not None else None
        match record.kind:
            case "m" | "d" if parent is not None:
                parent.change(name, _File() if record.kind == "m" else _Folder())
            case "u" if parent is not None:
                parent.change(name, None)
            case "w" if isinstance(thing, _File):
                thing.open.append((record.where, record.octets))
            case "t" if isinstance(thing, _File):
                thing.open.append((record.where, None))
            case "b" if thing is not None:
                self._syncing[record.thread] = (thing, thing.gone + len(thing.open))
            case "s" | "x" if record.thread in self._syncing:
                synced, number = self._syncing.pop(record.thread)
                if record.kind == "s":
                    synced.sync(number)
                else:
                    synced.forget(number, self._dice)

    def _find(self, path: str) -> tuple[_Folder | None, str]:
        """Give the folder of a path, and the name in it."""
        *above, name = path.strip("/").split("/")
        folder: _File | _Folder | None = self._root
        for each in above:
            folder = folder.names.get(each) if isinstance(folder, _Folder) else None
        return (folder if isinstance(folder, _Folder) else None), name

    def lose_power(self) -> None:
        """Keep what is safe, and of the rest what chance will have."""
        self._syncing.clear()
        # The root is no part of what is tried: its own names are there.
        self._root.sync(self._root.gone + len(self._root.open))
        self._root.lose(self._dice)

    def contents(self) -> Iterator[tuple[str, bytes | None]]:
        """Give what there is: paths, and what files have; `None` for a folder, before its files."""
        return _contents(self._root, "")

    def write_to(self, root: Path) -> None:
        """Make a real folder of what there is."""
        shutil.rmtree(root)
        root.mkdir(mode=0o700)
        for path, octets in self.contents():
            place = root / path
            if octets is None:
                place.mkdir(mode=0o700)
            else:
                place.write_bytes(octets)
                place.chmod(0o600)


def _contents(folder: _Folder, above: str) -> Iterator[tuple[str, bytes | None]]:
    for name, thing in folder.names.items():
        if isinstance(thing, _Folder):
            yield above + name, None
            yield from _contents(thing, f"{above}{name}/")
        else:
            yield above + name, bytes(thing.safe)

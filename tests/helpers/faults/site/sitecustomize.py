"""Lets a process die at a chosen point; Python imports this when it starts, if it is on its path.

It is in the way of every process of a tested driver, and so it uses nothing but what Python has
loaded anyway. What to do stands in the environment, as `tests.helpers.faults.dying` puts it there.
"""

import json
import os
import re
import sys
import time
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from pathlib import Path

PLAN = "MLFD_TESTED_DEATH"
MARK = "MLFD_TESTED_RUN"


class Death:
    """The death of a process, or of all, when something happens for the n-th time."""

    def __init__(self, plan):
        self.plan = plan
        self.seen = 0
        self.dying = False

    def comes(self, *paths):
        """Count a point that was reached, and die there if it is the one."""
        self.seen += 1
        if self.seen != self.plan["count"] or self.dying:
            return
        self.dying = True  # what follows reaches points, too
        try:
            os.close(os.open(self.plan["marker"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # it has happened, in a process before this one
            return
        if self.plan["tears"]:
            os.truncate(paths[0], Path(paths[0]).stat().st_size // 2)
        driver = int(Path(self.plan["marker"] + ".pid").read_text())
        dies, number = self.plan["dies"], self.plan["number"]
        if dies == "terminal":
            os.killpg(driver, number)
        elif dies == "driver":
            os.kill(driver, number)
        elif dies == "worker":
            os.kill(os.getpid(), number)
        else:
            for pid in others():
                os.kill(pid, number)
            os.kill(os.getpid(), number)
        time.sleep(self.plan["stays_s"])


def others():
    """Yield the other processes of the same driver."""
    wanted = f"{MARK}={os.environ[MARK]}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
            except OSError:
                continue


def kind():
    """Return which of a driver's processes this is."""
    line = Path("/proc/self/cmdline").read_bytes()
    if b"mlfd_tune.cli" in line:
        return "driver"
    return "worker" if b"default_worker.py" in line else "other"


class Wrapper(MetaPathFinder, Loader):
    """Changes modules as they are imported: wraps a function, or sets a constant."""

    def __init__(self, changes):
        self.changes = changes
        self.loaders = {}
        self.looking = False

    def find_spec(self, name, path=None, target=None):
        if name not in self.changes or self.looking:
            return None
        self.looking = True
        try:
            spec = find_spec(name)
        finally:
            self.looking = False
        self.loaders[name], spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.loaders[spec.name].create_module(spec)

    def exec_module(self, module):
        self.loaders[module.__name__].exec_module(module)
        for change in self.changes[module.__name__]:
            change(module)


def wrapping(death, function, after):
    """Return a change that lets a function's call be the point."""

    def change(module):
        *owners, name = function.split(".")
        owner = module
        for part in owners:
            owner = getattr(owner, part)
        real = vars(owner)[name]

        def reached(*args, **kwargs):
            if not after:
                death.comes()
            result = real(*args, **kwargs)
            if after:
                death.comes()
            return result

        setattr(owner, name, reached)

    return change


def watching(death, event, pattern):
    """Return an audit hook that lets the opening or renaming of a file be the point."""

    def hook(name, arguments):
        if name == event and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = os.fsdecode(arguments[0])
            writes = name != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
            if writes and re.search(pattern, path):
                death.comes(path)

    return hook


def begin(plan):
    """Prepare this process."""
    changes = {}
    for name, value in plan["constants"].items():
        module, _, constant = name.partition(":")
        changes.setdefault(module, []).append(lambda m, c=constant, v=value: setattr(m, c, v))
    if kind() == "driver":
        Path(plan["marker"] + ".pid").write_text(str(os.getpid()))
    if kind() == plan["process"]:
        death = Death(plan)
        if plan["call"]:
            module, _, function = plan["call"].partition(":")
            changes.setdefault(module, []).append(wrapping(death, function, plan["after"]))
        else:
            sys.addaudithook(watching(death, plan["event"], plan["file"]))
    if changes:
        sys.meta_path.insert(0, Wrapper(changes))


if PLAN in os.environ:
    begin(json.loads(os.environ[PLAN]))

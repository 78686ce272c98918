"""Probes whose time comes when a test says so."""

from collectors.probing import Probes


class ProbesAtWill(Probes):
    """Due whenever `now` is set, and never else."""

    now = False

    def due(self) -> bool:
        return self.now


class ManyAtWill:
    """Makes probes, and lets all of them be due or not."""

    def __init__(self) -> None:
        self.made: list[ProbesAtWill] = []

    def __call__(self) -> Probes:
        self.made.append(ProbesAtWill())
        return self.made[-1]

    def due(self, *, now: bool) -> None:
        for each in self.made:
            each.now = now

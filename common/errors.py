"""Every error the house raises on purpose; the type says what the caller does next.

* TailraceError
  * ConfigError           a person must change a file; the process exits 78
  * SourceUnavailable     the device or its network is away; the runner waits and tries again
  * TargetUnavailable     the far side or its network is away; the drain waits and tries again
    * TargetRefused       a person must act at the far side; knock rarely (uplink/contract.py)
    * TargetBusy          it has too much to do; knock ever more rarely (uplink/contract.py)
    * MessageBlamed       one of the messages in flight ended the connection (uplink/contract.py)
  * QueueUnusable         the queue cannot be opened or written; the process exits, is restarted
    * DiskFull            it has no room to commit; wait for room, or make some, and open again
  * BlockDamaged          stored or received bytes are not what was written; skip, and book a gap
  * FormatUnknown         whole, but of another version; keep it, and use the version that wrote it
  * AlreadyRunning        another process holds this role; the process exits
"""

from dataclasses import dataclass


class TailraceError(Exception):
    """Base of all expected errors."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a person must change, and where."""

    place: str
    """File as the operator knows it, with its line where known: `ot/plant.toml:14`."""
    where: str
    """The path of the key or the name of the row: `devices.press.groups.fast.period_ms`."""
    message: str
    """What was found and what would be right."""
    code: str = ""
    """Names this kind of finding for ever: `OT-L06`; empty for one that has none."""
    help: str = ""
    """What to do about it, where the message does not say."""

    def __str__(self) -> str:
        """One line: place, path, message, code."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        code = f" [{self.code}]" if self.code else ""
        return f"{self.place}: {text}{code}"


@dataclass(frozen=True, slots=True)
class Caution(Finding):
    """What a person should know, and need not change. Stops nothing."""

    severity: str = "warning"
    """For `tailrace check`, which reads the findings as JSON."""

    def __str__(self) -> str:
        """One line, as any finding, that says that it is only a warning."""
        return f"warning: {Finding.__str__(self)}"


class ConfigError(TailraceError):
    """The configuration is wrong; carries every finding, not only the first."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(str(finding) for finding in findings))
        self.findings = findings


class SourceUnavailable(TailraceError):
    """The device cannot be reached or stopped answering. Wait and connect again."""


class TargetUnavailable(TailraceError):
    """The far side cannot be reached, or refused us. Wait and connect again."""


class QueueUnusable(TailraceError):
    """The queue could not be opened, or a commit failed. Exit, reopen, receive again."""


class DiskFull(QueueUnusable):
    """The file system has no room for a commit. Nothing is damaged; open again once it has."""


class BlockDamaged(TailraceError):
    """Bytes that fail their checksum or do not follow the format."""


class FormatUnknown(TailraceError):
    """Bytes that are whole but of a version this one does not know. Never treat them as damaged."""


class AlreadyRunning(TailraceError):
    """Another process of this installation already holds this role."""

"""Every error this package raises on purpose. A message says what happened and what to do."""

from __future__ import annotations


class EdgeRuntimeError(Exception):
    """Base class. `exit_code` is what the command line exits with."""

    exit_code = 1


class InputError(EdgeRuntimeError):
    """Something given from outside is wrong; the remedy is in the message."""

    exit_code = 2


class ConfigError(InputError):
    """A key of the configuration is unknown, of the wrong type or out of range."""


class UnavailableError(ConfigError):
    """What the configuration names cannot be used now; a later start may find it."""


class MisconfiguredServiceError(ConfigError):
    """A service cannot start before somebody changes something: systemd is not to try it again."""

    exit_code = 78
    """EX_CONFIG of sysexits.h: the units' RestartPreventExitStatus."""


class SourceError(InputError):
    """A microphone, camera or recording cannot be used."""


class MissingDeviceError(SourceError):
    """A microphone, loudspeaker or camera is not there, or does not answer: it may come later."""


class ManifestError(InputError):
    """A model folder breaks its contract: manifest, hash or graph."""


class VoiceError(InputError):
    """The synthesizer is missing or cannot speak."""


class RecordingError(InputError):
    """A recorded run cannot be read or written."""


class EngineError(EdgeRuntimeError):
    """The engine failed while running. The loop stops safely; nothing stale is used."""


class StoppedError(EdgeRuntimeError):
    """Somebody ended it while it was made ready."""


class BackgroundError(EdgeRuntimeError):
    """A delegated request could not be taken."""


class NotKnownError(BackgroundError):
    """Whoever was asked does not know it; somebody else may. `heard` is what was asked, for them
    who need not listen to it again."""

    def __init__(self, message: str, heard: str = "") -> None:
        super().__init__(message)
        self.heard = heard


class NotNowError(BackgroundError):
    """Whoever was asked cannot answer anything at the moment; somebody else may."""


class WireError(EdgeRuntimeError):
    """A payload or a topic from outside does not follow the protocol; it is counted and ignored."""

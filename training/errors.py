"""What a person can get wrong in training, each told in one sentence.

TrainingError            the command line prints the message and exits with code 2
|-- ConfigurationError   a configuration or an override that cannot be used
|-- DataError            ratings that cannot be read: names file, line and remedy
|   `-- DataUnavailable  the named data is neither on disk nor to be had over the network
|-- ProtocolError        the protocol does not fit the data (no dates, too few users)
|-- TrainingDiverged     NaN or Inf; the last good checkpoint is kept
`-- ExportError          the exported graph disagrees with the network
"""

from __future__ import annotations


class TrainingError(Exception):
    """Something a person can put right; the message says how."""


class ConfigurationError(TrainingError):
    """A configuration or an override cannot be used."""


class DataError(TrainingError):
    """Ratings cannot be read; the message names file, line and remedy."""


class DataUnavailable(DataError):
    """The named data is neither on disk nor to be had over the network."""


class ProtocolError(TrainingError):
    """The protocol does not fit the data."""


class TrainingDiverged(TrainingError):
    """Training met NaN or Inf; the last good checkpoint is kept."""


class ExportError(TrainingError):
    """The exported graph disagrees with the network it was exported from."""

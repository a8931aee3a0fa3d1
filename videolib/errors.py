"""The errors that a caller may want to catch; bad arguments are `ValueError`."""


class VideolibError(Exception):
    """Base of every error that videolib raises on purpose, bad arguments apart."""


class VideoReadError(VideolibError):
    """The file is missing, empty, not a video, or damaged beyond reading."""


class DownloadError(VideolibError):
    """A download failed or what came is not what was asked for."""


class ModelError(VideolibError):
    """The model's weights are missing, damaged, or not those of a CLIP model."""


class StoreError(VideolibError):
    """The store cannot be opened, or it refuses what it was given."""

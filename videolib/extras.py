"""Parts that are installed on request: the one sentence that names what is missing."""


def missing_extra(what: str, extra: str) -> str:
    """Say what to install; `extra` is a name in pyproject.toml's optional-dependencies."""
    return f"{what}, which is not installed: pip install 'videolib[{extra}]'"

"""The bar that long work shows, in a notebook or a terminal: tqdm's. In a notebook a line of text takes its place."""

import warnings
from typing import TYPE_CHECKING, Any

from videolib.extras import missing_extra

with warnings.catch_warnings(record=True) as _caught:
    warnings.simplefilter("always")
    from tqdm import tqdm as _plain
    from tqdm.auto import tqdm as _auto

if any("IProgress not found" in str(warning.message) for warning in _caught):
    warnings.warn(missing_extra("a progress bar in a notebook needs ipywidgets", "notebooks"), stacklevel=2)

if TYPE_CHECKING:
    tqdm = _plain
elif _auto.status_printer is _plain.status_printer:
    tqdm = _auto
else:

    class tqdm(_auto):
        """tqdm's widget; at its end it becomes a line, for a saved notebook shows no widget without its kernel."""

        def __init__(self, *args: Any, **options: Any) -> None:
            from IPython.display import display

            super().__init__(*args, display=False, **options)
            if not self.disable:
                self._shown = display(self.container, display_id=True)

        def close(self) -> None:
            if self.disable:
                return
            super().close()
            for widget in (*self.container.children, self.container):
                widget.close()
            self._shown.update({"text/plain": _tell(self)}, raw=True)


def _tell(bar: "_plain[Any]") -> str:
    count, total = bar.n, bar.total or 0
    text = f"{_amount(bar, count)} of {_amount(bar, total)}" if count < total else _amount(bar, count)
    if bar.unit_scale:
        text += " MB"
    else:
        text += f" {bar.unit}{'s' * (max(count, total) != 1)}"
    if bar.initial:
        text += f", {_amount(bar, count - bar.initial)} of them"
    seconds = max(1, round(bar.format_dict["elapsed"]))
    title = f"{bar.desc.removesuffix(': ')}: " if bar.desc else ""
    return f"{title}{text} in {f'{seconds} s' if seconds < 60 else bar.format_interval(seconds)}"


def _amount(bar: "_plain[Any]", count: float) -> str:
    return f"{count / 1e6:,.1f}" if bar.unit_scale else f"{count:,}"

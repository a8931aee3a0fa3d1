"""The bar that long work shows, in a notebook or a terminal: tqdm's."""

import warnings

from videolib.extras import missing_extra

with warnings.catch_warnings(record=True) as _caught:
    warnings.simplefilter("always")
    from tqdm.auto import tqdm as tqdm

if any("IProgress not found" in str(warning.message) for warning in _caught):
    warnings.warn(missing_extra("a progress bar in a notebook needs ipywidgets", "notebooks"), stacklevel=2)

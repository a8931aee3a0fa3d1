from .estimate import Preflight as Preflight
from .estimate import preflight as preflight
from .one import ingest as ingest
from .pipeline import embed_frames as embed_frames

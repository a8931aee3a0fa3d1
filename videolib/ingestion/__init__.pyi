from .estimate import Preflight as Preflight
from .estimate import PreflightVideos as PreflightVideos
from .estimate import preflight as preflight
from .estimate import preflight_videos as preflight_videos
from .many import ingest_videos as ingest_videos
from .one import ingest as ingest
from .pipeline import embed_frames as embed_frames

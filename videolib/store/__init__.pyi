from .copying import copy_videos as copy_videos
from .store import FrameStore as FrameStore
from .writing import mean_bytes as mean_bytes

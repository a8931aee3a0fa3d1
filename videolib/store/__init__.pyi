from .copying import copy_videos as copy_videos
from .duckdb import file_bytes as file_bytes
from .parquet import export_parquet as export_parquet
from .parquet import load_parquet as load_parquet
from .store import FrameStore as FrameStore
from .writing import mean_bytes as mean_bytes

from .by_name import load_encoder as load_encoder
from .clip import ClipEncoder as ClipEncoder
from .open_clip import OpenClipEncoder as OpenClipEncoder
from .protocol import Encoder as Encoder

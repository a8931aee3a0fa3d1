from .clip import ClipEncoder as ClipEncoder
from .protocol import Encoder as Encoder

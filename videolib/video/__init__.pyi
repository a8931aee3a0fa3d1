from .frames import describe as describe
from .frames import extract_frames as extract_frames
from .frames import probe_video as probe_video
from .frames import read_frame as read_frame
from .frames import read_timeline as read_timeline
from .frames import sample_frames as sample_frames
from .sampling import SamplePlan as SamplePlan
from .sampling import plan_samples as plan_samples

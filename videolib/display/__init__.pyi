from .edit_list import export_edit_list as export_edit_list
from .explorer import explore as explore
from .figures import plot_frames as plot_frames
from .figures import plot_moments as plot_moments
from .figures import plot_timeline as plot_timeline
from .labels import plot_labels as plot_labels
from .player import play_clip as play_clip
from .reel import make_reel as make_reel

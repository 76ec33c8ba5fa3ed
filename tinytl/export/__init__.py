"""What a run trained, as a folder that gives it back in one line, without the run's machinery.

- `write_folder`: from a run's checkpoint to a folder with the whole network.
- `load`: the network of such a folder, ready to be used.
"""

from tinytl.export.folder import Exported, check_target, load, write_folder
from tinytl.export.formats import FORMATS
from tinytl.export.restore import Trained, read_trained

__all__ = ["FORMATS", "Exported", "Trained", "check_target", "load", "read_trained", "write_folder"]

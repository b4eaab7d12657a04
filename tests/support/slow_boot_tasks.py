"""A task module whose import takes as long as a test wants: until the gate `import` is open."""

import os
import time
from pathlib import Path

_FOLDER = Path(os.environ["FAULT_TEST_FOLDER"])

(_FOLDER / "importing").touch()
while not (_FOLDER / "import").exists():
    time.sleep(0.005)

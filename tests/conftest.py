"""What every test needs before it imports anything heavy."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dimlift.lifting.sources.torchvision_operators import ensure_torchvision_imports

ensure_torchvision_imports()

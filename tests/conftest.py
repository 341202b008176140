import os

from hypothesis import settings

# Figures are drawn without a screen, and a busy machine is no reason for a red test.
os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("dkvector", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("dkvector")

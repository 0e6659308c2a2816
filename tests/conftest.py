"""Every machine draws the same examples, so that a red test is a change and not luck.

HYPOTHESIS_PROFILE=explore draws new ones, and more of them.
"""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

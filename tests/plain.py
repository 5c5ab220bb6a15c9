"""Imported before the gateway: tests run the sources as they stand, unless ZHENGMING_COMPILED is set."""

import os

os.environ.setdefault("ZHENGMING_COMPILED", "")

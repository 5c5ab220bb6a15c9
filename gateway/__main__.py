"""`python -m gateway` is `zhengming`: the supervisor starts its parts this way."""

import sys

from gateway.cli import main

sys.exit(main())

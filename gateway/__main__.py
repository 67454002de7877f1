"""python -m gateway: the command presence-gateway."""

import sys

from gateway.cli import main

sys.exit(main())

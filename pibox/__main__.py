"""`python -m pibox`."""

import sys

from pibox.cli import main

sys.exit(main())

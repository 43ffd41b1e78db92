"""`python -m city` is the `city` command."""

import sys

from city.cli import main

if __name__ == "__main__":
    sys.exit(main())

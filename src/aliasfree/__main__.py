"""`python -m aliasfree` is the command line."""

from __future__ import annotations

from aliasfree.cli import main

if __name__ == "__main__":
    main()

"""``python -m genrescope``: the same as the command ``genrescope``."""

from __future__ import annotations

from genrescope.apps.cli.main import main

if __name__ == "__main__":
    main()

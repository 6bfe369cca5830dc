"""`python -m pillarbox`: the same program as `pillarbox`."""

from pillarbox.cli import main

if __name__ == "__main__":
    main()

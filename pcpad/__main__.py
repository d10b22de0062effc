"""`python -m pcpad` is the `pcpad` command."""

from pcpad.cli import main

if __name__ == "__main__":
    main()

"""`python -m energyopt`."""

from energyopt.cli import main

if __name__ == "__main__":
    main()

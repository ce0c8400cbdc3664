"""`python -m energyopt`."""

from energyopt.cli.main import main

if __name__ == "__main__":
    main()

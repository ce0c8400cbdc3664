"""Rules that stop trials not worth more energy; see `core.protocols.StoppingRule`."""

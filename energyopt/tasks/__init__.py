"""Data sets in three splits, one file each; see `energyopt.core.protocols.Task`."""

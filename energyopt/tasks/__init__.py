"""Data sets in three splits, one file each; see `core.protocols.Task`."""

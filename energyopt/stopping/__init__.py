"""Rules that stop a trial which is worth no more joules; see `core.protocols.StoppingRule`."""

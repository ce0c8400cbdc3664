"""Rules that stop a trial which is worth no more joules; see `protocols.StoppingRule`."""

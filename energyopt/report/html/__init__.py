"""A study as one page that needs no network, with its figures and tables as files."""

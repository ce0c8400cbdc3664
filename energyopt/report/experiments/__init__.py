"""What experiments found: rows of trials, and the summary of each kind."""

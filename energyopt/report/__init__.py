"""What a study found, for people: fronts, summaries, tables and exports."""

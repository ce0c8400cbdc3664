"""Plans over several studies, and their summaries."""

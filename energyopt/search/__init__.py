"""The search: from sweep words to distributions, samplers and scheduled trials."""

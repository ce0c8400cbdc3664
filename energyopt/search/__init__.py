"""The search: from sweep words to distributions, samplers and planned trials."""

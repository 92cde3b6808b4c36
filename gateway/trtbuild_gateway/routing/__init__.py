"""Several servers for one model: which one gets a request, and what follows when it fails."""

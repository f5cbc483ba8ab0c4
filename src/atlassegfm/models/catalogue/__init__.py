"""One file for each model; `atlassegfm.models.registry` finds them by their names."""

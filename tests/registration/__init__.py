"""A package, so that its tests may share `phantoms` and bear names that other rooms use too."""

"""Registration: fixed (query) world points to moving (atlas) world points."""

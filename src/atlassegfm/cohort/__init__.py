"""Many queries: found, run in processes of their own, resumed by content, summed up on one page."""

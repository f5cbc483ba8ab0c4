"""Step 3: segmentation models behind one protocol."""

"""The bare ground below what stands on it, and what is told from it: classes, contours, volumes."""

"""From slices and outlines to volumes, masks and diameters; which scan is a visit's."""

"""Groups among points, and how many there are: points in, no model."""

"""Models of this package in the layouts of other libraries."""

"""Report: metrics, learning curves and predictions come in, pictures, tables and a page go out."""

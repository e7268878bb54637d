"""Corpora: where recordings come from, and their manifests."""

"""Inspection: any artefact of a run comes in, a description of what it holds goes out."""

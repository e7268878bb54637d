"""Speed and memory of encoding and of prompt tuning against the published ways: ``make bench``."""

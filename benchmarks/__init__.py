"""Speed and memory of encoding and prompt tuning, compared with others: ``make bench``."""

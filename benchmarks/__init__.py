"""Speed and memory of prompt tuning against the published way and against peft: ``make bench``."""

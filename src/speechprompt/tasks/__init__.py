"""What a task is made of: labels, verbalizer, examples."""

"""Published models, each read once and written as safetensors with what it is in the metadata."""

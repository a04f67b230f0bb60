"""How tables, texts, images and cells become a model's numbers, and come back."""

"""How a model is trained: the plan of its start, the recipe, ``fit``, checkpoints and logs."""

"""How a model is trained: the Lightning module, ``fit``, how training starts, the recipe, checkpoints."""

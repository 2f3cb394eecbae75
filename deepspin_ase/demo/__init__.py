"""``deepspin demo``: the main job on a shipped model, from a disturbed antiferromagnet to pictures and numbers."""

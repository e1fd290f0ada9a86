"""How a model's conversation is judged: scenarios, baselines, metrics, proofs, report."""

"""Windows of encoded genomes as batches: tokens, datasets, samplers, Lightning data modules."""

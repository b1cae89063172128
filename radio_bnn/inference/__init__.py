"""From a prior and data to something that can predict: likelihoods, objectives, methods, training, pruning."""

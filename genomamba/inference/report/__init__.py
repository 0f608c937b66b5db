"""One page of all that a workflow made: data, training, evaluation, predictions, tracks."""

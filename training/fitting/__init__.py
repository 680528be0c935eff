"""How a network is fitted: batches, the learner, the trainer, and the techniques around them."""

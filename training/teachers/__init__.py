"""Strong models of the training users that teach a network; nothing of them is served."""

"""One trained network, every regularization: hyperparameters of image registration."""

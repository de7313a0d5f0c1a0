"""Latent variables: families of approximate posteriors, priors over codes, and the model that joins them."""

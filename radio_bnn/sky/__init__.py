"""From a reader's own galaxies to a classification with its uncertainty, by the networks that come with the package."""

"""Your own galaxies: from a file, a mosaic, a catalogue or a position to a classification with its uncertainty."""

"""Your own galaxies: from a file, a mosaic, a catalogue or a position to the network's input, and what may be wrong."""

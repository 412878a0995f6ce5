"""From a slide to the objects in it: tiles, network, decoder, outlines."""

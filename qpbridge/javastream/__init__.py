"""Java object serialization streams, without loss, as columns, and without any Java class."""

"""Projects read and written without a JVM."""

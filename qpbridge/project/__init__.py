"""QuPath projects: one interface (`model`), and the backends that keep it."""

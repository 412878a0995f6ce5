"""QuPath's tree of objects: whose an object is, which regions there are, what lies below what."""

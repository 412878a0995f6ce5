"""QuPath's ``data.qpdata``: reading it, writing it, changing it without harm to the rest."""

"""What networks there are."""

from __future__ import annotations

from qpbridge.models.bundle import Bundle, find_bundles, load_bundle


def list_models() -> list[Bundle]:
    """Load the descriptions of the models that come with qpbridge, in the order of their names.

    Examples
    --------
    >>> {bundle.target for bundle in qpbridge.list_models()} == {"nuclei", "glands", "vessels"}
    True
    """
    return [load_bundle(path) for path in find_bundles()]

"""TorchScript networks of users who trust them: looked through before they are run.

TorchScript has operators that write to files and print. What is loaded here is made of those alone
that compute tensors from tensors, as far as its own compiled form says; nothing of it is run for
that.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qpbridge.errors import ModelError
from qpbridge.models.archive import check_tensors_archive
from qpbridge.models.operators import CONTROL, TENSOR

AT_LOADING = (b"__setstate__", b"torch.classes", b"torch/classes")
"""Names without which nothing of the file is run when it is read; both are for other programs."""


def read_script(script: bytes, path: Path) -> nn.Module:
    """Read a TorchScript network.

    Parameters
    ----------
    script
        The contents of the file; run only if the user trusts them.
    path
        The file, for messages.

    Raises
    ------
    ModelError
        If it is damaged, or holds operators that are not of tensors alone.
    """
    clean = _copy(script, path)
    native: Any = torch._C  # what torch.jit.load uses; here what was read is looked at first
    units = native.CompilationUnit()
    try:
        module = native.import_ir_module_from_buffer(units, clean, torch.device("cpu"), {}, False)
        nodes = list(_nodes(units))
        foreign = sorted({node.kind() for node in nodes} - TENSOR - CONTROL)
    except Exception as error:  # whatever its reader says of what is in it
        raise ModelError(f"{path}: damaged, or no TorchScript ({error}).") from error
    if foreign:
        raise ModelError(
            f"{path}: refused, though it is trusted: it does more than compute tensors "
            f"({', '.join(foreign[:5])})."
        )
    for node in nodes:
        if node.kind() == "aten::warn":
            node.destroy()  # its text would go to the terminal as it is
    network: nn.Module = torch.jit._recursive.wrap_cpp_module(module)  # type: ignore[no-untyped-call]
    return network.float().eval()


def _copy(script: bytes, path: Path) -> bytes:
    """Write the archive anew, so that what was looked at is what is read."""
    clean = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(script)) as archive, zipfile.ZipFile(clean, "w") as copy:
            check_tensors_archive(archive, len(script))
            for member in archive.infolist():
                if member.filename.endswith(".debug_pkl"):
                    continue  # where its lines were in a source; nothing needs that
                data = archive.read(member)
                if any(name in data or name in member.filename.encode() for name in AT_LOADING):
                    raise ModelError(
                        f"{path}: refused, though it is trusted: {member.filename!r} would run "
                        "when it is read."
                    )
                copy.writestr(zipfile.ZipInfo(member.filename), data)
    except ModelError:
        raise
    except Exception as error:  # the errors of archives have no common class
        raise ModelError(f"{path}: damaged, or no TorchScript ({error}).") from error
    return clean.getvalue()


def _nodes(units: Any) -> Iterator[Any]:
    """List the operators of all functions and methods that can be called."""
    for function in units.get_functions():
        waiting = [function.graph]
        while waiting:
            for node in waiting.pop().nodes():
                yield node
                waiting.extend(node.blocks())

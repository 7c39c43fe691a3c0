"""Mode tensors in torch files: (time, chain, mode, 3) mode 0 the centre of mass, as the authors keep them."""

from __future__ import annotations

from pathlib import Path

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import AnyArray


def open_mode_tensor(path: Path) -> AnyArray:
    """Return the tensor of a torch file, from disk as it is used where the file allows; no code in it is ever run.

    Args:
        path: written by ``torch.save(tensor, path)``.

    Raises:
        UserError: missing, not a torch file, holding anything but one plain tensor, or of another shape.
    """
    import torch

    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        try:
            tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # files of torch before 1.6 cannot be mapped
            tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise UserError(
                f"{path} holds Python objects, which are never loaded; save one plain tensor with torch.save"
            ) from None
        raise UserError(f"{path} is not a readable torch file: {one_line(error)[:200]}") from None
    if not isinstance(tensor, torch.Tensor):
        raise UserError(f"{path} holds a {type(tensor).__name__} where one tensor (time, chain, mode, 3) belongs")
    plain = tensor.layout == torch.strided and not tensor.is_nested and tensor.device.type == "cpu"
    if not plain or tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        raise UserError(f"{path} holds a tensor of {tensor.dtype}; plain real numbers belong there")
    if tensor.numel() * tensor.element_size() > path.stat().st_size:
        raise UserError(f"{path} declares a tensor of shape {tuple(tensor.shape)}, larger than the file")
    if tensor.ndim != 4 or tensor.shape[3] != 3 or tensor.shape[2] < 2 or 0 in tensor.shape:
        raise UserError(
            f"{path} holds a tensor of shape {tuple(tensor.shape)}; (time, chain, mode, 3) with mode 0 the centre of "
            "mass belongs there"
        )
    array: AnyArray = tensor.detach().numpy()
    return array


def is_torch_file(path: Path) -> bool:
    """Tell by its name whether a file is torch's."""
    return path.suffix in (".pt", ".pth")

"""The real library MultiVae, for tests that compare with it; they are skipped where it is not."""

import contextlib
import importlib
import importlib.util
import io
import sys
import types
from importlib.machinery import ModuleSpec, PathFinder

import pytest
import torch


class _Anything(type):
    """A class of which any name is one more such class."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


class _StandIn(types.ModuleType):
    """A module of torchvision, which MultiVae imports for downloads and for grids of pictures."""

    __path__ = ()

    def __getattr__(self, name):
        return make_grid if name == "make_grid" else getattr(_Anything("any", (), {}), name)


class _Finder:
    def find_spec(self, name, path=None, target=None):
        is_its = name.split(".")[0] == "torchvision"
        return ModuleSpec(name, self, is_package=True) if is_its else None

    def create_module(self, spec):
        return _StandIn(spec.name)

    def exec_module(self, module):
        pass


def make_grid(images, nrow=8):
    """Lay images (n, channels, height, width) side by side, so many in a row."""
    missing = -len(images) % nrow
    images = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
    rows = [torch.cat(list(row), -1) for row in images.split(nrow)]
    return torch.cat(rows, -2)


def real_is_installed():
    """Tell whether the real library can be imported, whatever stands in for it."""
    spec = PathFinder.find_spec("multivae")
    return spec is not None and spec.origin is not None


def real_multivae():
    """Return the module of the real library's models, or skip."""
    if not real_is_installed():
        pytest.skip("the real MultiVae is not installed")
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.append(_Finder())
    with contextlib.redirect_stderr(io.StringIO()):
        return importlib.import_module("multivae.models")

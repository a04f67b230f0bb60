"""A run, or a model, as one file for services: ONNX or torch.export, preprocessing inside."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cmvae._version import __version__
from cmvae.base.arguments import as_path, check_flags
from cmvae.base.extras import from_extra
from cmvae.base.files import atomic_write, may_write_file
from cmvae.models.cmvae import CMVAE
from cmvae.runs.folder import load_model, read_record
from cmvae.runs.run import Run
from cmvae.runs.traceable import TraceableRun, traceable_model, traceable_run

ONNX, TORCH = ".onnx", ".pt2"
SUFFIXES = (ONNX, TORCH)
KEY = "cmvae"  # of what is told of inputs and outputs, in the metadata of a file
JSON = f"{KEY}.json"  # likewise, in a .pt2
AGREEMENT = 1e-5
_TRACED = 3  # samples that exporters trace with; not 1, which would stay 1


def export(
    source: "str | Path | Run | CMVAE",
    out: str | Path,
    *,
    outputs: Sequence[str] | None = None,
    rule: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a run or a model as one file that runs without this package, on any number of samples.

    In go raw values, named by modality: of a table (n, columns) float64 in the order of the
    columns, NaN where a cell is missing, dates as days since 1970, of categories and binary
    columns the codes that the metadata tell; arrays (n, *shape) float64, NaN throughout where a
    sample lacks them; images (n, C, H, W) uint8 of the model's size, with ``NAME.observed``, (n,)
    boolean, where there are several modalities. ``covariate.NAME``, (n,) float64, are numbers, or
    the places of categories among those that the metadata tell, NaN where missing. Of a
    :class:`cmvae.CMVAE`, which knows no preprocessing, they are the numbers that it was trained on,
    with ``NAME.observed`` and, where cells may be missing, ``NAME.cells``.

    Out come ``cluster`` (n,) int64, ``probabilities`` (n, clusters), ``embedding`` (n,
    latent_dim), ``log_likelihood`` (n,) and of a run ``fit_percentile`` (n,), not rounded. Rows
    that ``cmvae predict`` would refuse, with nothing observed or numbers beyond all measure, are in
    cluster −1, all else of them being NaN.

    Args:
        source: A run folder, a run, or a model, custom networks and all.
        out: A file that ends in .onnx, for ONNX Runtime (extra ``onnx``), or .pt2, for
            ``torch.export.load``.
        outputs: Those that are wanted, by default all; the last two cost several times as much
            as the others together.
        rule: The assignment rule of a model, by default 'mean'; a run has its own.
        overwrite: Replace a file that is there.

    Raises:
        ValueError: For another suffix, a file that is there, a rule for a run, a modality or a
            network that cannot be exported, naming it.
        ImportError: If a package of the extra is not installed, naming the extra.
        TypeError: For another source.
    """
    path = as_path("out", out)
    check_flags(overwrite=overwrite)
    may_write_file(path, overwrite, SUFFIXES)
    if path.suffix == ONNX:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            from_extra(package, "onnx", "export to ONNX")
    if isinstance(source, CMVAE):
        module = traceable_model(source, "mean" if rule is None else rule)
    elif isinstance(source, Run | str | Path) and rule is not None:
        raise ValueError(f"rule is for a model, and a run has its own: leave it out, got {rule!r}")
    elif isinstance(source, Run):
        module = traceable_run(source)
    elif isinstance(source, str | Path):
        record = read_record(Path(source), with_samples=False)
        module = traceable_run(load_model(Path(source), record))
    else:
        kind = type(source).__name__
        raise TypeError(f"source must be a run folder, a Run or a CMVAE, got {kind}")
    if outputs is not None:
        module.choose(outputs)
    with atomic_write(path) as temporary:
        _write(module.eval(), temporary)
    return path


def _write(module: TraceableRun, path: Path) -> None:
    """Write a module, and compare what is read again with it."""
    program = _traced(module)
    about = json.dumps({"cmvae": __version__, **module.description()})
    if path.suffix == TORCH:
        with _quiet():
            torch.export.save(program, path, extra_files={JSON: about})
    else:
        found = _as_onnx(module, program)
        found.model.metadata_props[KEY] = about
        found.save(path, external_data=False)
    exported = load_exported(path)
    for n in (1, 5):
        inputs = module.example(n)
        with torch.no_grad():
            expected = module(*inputs.values())
        got = exported.run({name: own.numpy() for name, own in inputs.items()})
        for name, own in expected.items():
            other = torch.from_numpy(got[name]).double()
            # Percentiles move much where log-likelihoods move little.
            within = 1.0 if name == "fit_percentile" else AGREEMENT
            options: dict[str, Any] = {"rtol": AGREEMENT, "atol": within, "equal_nan": True}
            if not torch.allclose(other, own.double(), **options):
                raise ValueError(
                    f"what was exported does not repeat the model: {name} of {n} samples differs"
                )


def _traced(module: TraceableRun) -> torch.export.ExportedProgram:
    """Trace a module; ``ValueError`` that names the network which cannot be traced."""
    inputs = tuple(module.example(_TRACED).values())
    try:
        return _trace(module, inputs, "the model")
    except ValueError:
        for what, part, own in module.networks(_TRACED):
            _trace(part, own, what)
        raise


def _trace(module: nn.Module, inputs: tuple[Tensor, ...], what: str) -> Any:
    n = torch.export.Dim("n", min=1)
    shapes = tuple({0: n} for _ in inputs)
    is_many = isinstance(module, TraceableRun)
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(
                module, inputs, dynamic_shapes=(shapes,) if is_many else shapes
            )
    except Exception as error:
        raise ValueError(
            f"{what} cannot be exported, {_said(error)}; its operations must not depend on values, "
            "nor on len(x), which is x.shape[0]"
        ) from error


def _as_onnx(module: TraceableRun, program: torch.export.ExportedProgram) -> Any:
    """Convert what was traced; ``ValueError`` that names the network which ONNX does not know."""
    names = {"input_names": module.names_in, "output_names": list(module.chosen)}
    try:
        return _converted(program, "the model", **names)
    except ValueError:
        for what, part, own in module.networks(_TRACED):
            _converted(_trace(part, own, what), what)
        raise


def _converted(program: torch.export.ExportedProgram, what: str, **names: Any) -> Any:
    try:
        with _quiet():
            return torch.onnx.export(for_onnx(program), dynamo=True, verbose=False, **names)
    except Exception as error:
        cause = error.__cause__ or error  # which names the operation; the error itself is a page
        raise ValueError(
            f"{what} cannot be exported to ONNX, {_said(cause)}; .pt2 files know all operations"
        ) from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()[:60])}"


def for_onnx(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return a program without the operations that ONNX lacks and this package has."""
    own: dict[Any, Any] = {
        torch.ops.aten.lgamma.default: log_gamma,
        torch.ops.aten._cdist_forward.default: distances,
    }
    if all(node.target not in own for node in program.graph.nodes):
        return program  # a second tracing takes seconds
    return program.run_decompositions({**torch.export.default_decompositions(), **own})


def distances(x: Tensor, y: Tensor, p: float, mode: int | None = None) -> Tensor:
    """Return what ``torch.cdist`` does, (*, N, C), of points (*, N, d) and others (*, C, d)."""
    gaps = (x.unsqueeze(-2) - y.unsqueeze(-3)).abs()
    return gaps.sum(-1) if p == 1 else gaps.pow(p).sum(-1).pow(1 / p)


def log_gamma(x: Tensor) -> Tensor:
    """Return log Γ(x), x > 0, which ONNX lacks: Γ(x) = Γ(x + 8) / (x (x + 1) … (x + 7)).

    The series of log Γ(y) is exact to 1e-11 from y = 8 on.
    """
    y = x.double()
    product = y
    for step in range(1, 8):
        product = product * (y + step)
    y = y + 8
    square = 1 / (y * y)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680) * square) * square) * square) / y
    found = (y - 0.5) * y.log() - y + 0.9189385332046727 + series - product.log()
    return found.to(x.dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters say of themselves from people."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [own.level for own in loggers]
    try:
        for own in loggers:
            own.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for own, level in zip(loggers, levels, strict=True):
            own.setLevel(level)


@dataclass(frozen=True)
class Exported:
    """An exported file that was read.

    Attributes:
        about: What it says of its inputs and outputs.
        session: The ONNX Runtime session, or the module of torch.export.
    """

    about: dict[str, Any]
    session: Any

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Any:
        """Return {output: array} of {input: array}.

        Raises:
            KeyError: For an input that is missing, or an output that there is not.
            TypeError: For an input of another dtype.
            ValueError: For one of another shape, or of other samples than the others.
        """
        self._check(inputs, outputs)
        if not isinstance(self.session, nn.Module):
            names = list(outputs or [own["name"] for own in self.about["outputs"]])
            return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))
        given = [torch.from_numpy(inputs[own["name"]]) for own in self.about["inputs"]]
        with torch.no_grad():
            found = self.session(*given)
        return {name: found[name].numpy() for name in outputs or found}

    def _check(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None) -> None:
        known = [own["name"] for own in self.about["outputs"]]
        if unknown := [name for name in outputs or () if name not in known]:
            raise KeyError(f"outputs must be some of {known}, got {unknown}")
        n = None
        for own in self.about["inputs"]:
            name, shape, dtype = own["name"], own["shape"], own["dtype"]
            if name not in inputs:
                raise KeyError(f"no input {name!r}; there are {list(inputs)}")
            values = np.asarray(inputs[name])
            wanted = f"input {name!r} must be {dtype} of the shape {('n', *shape)}"
            if values.dtype != dtype:
                raise TypeError(f"{wanted}, got {values.dtype}")
            if values.ndim != 1 + len(shape) or list(values.shape[1:]) != shape:
                raise ValueError(f"{wanted}, got {values.shape}")
            n = len(values) if n is None else n
            if len(values) != n:
                raise ValueError(f"{wanted}, n being {n} as of those before it, got {len(values)}")


def load_exported(path: str | Path) -> Exported:
    """Read a file that :func:`export` wrote, with one thread.

    Raises:
        ValueError: For another file.
        ImportError: If ONNX Runtime is not installed, naming the extra.
    """
    own = as_path("path", path)
    if own.suffix not in SUFFIXES:
        raise ValueError(f"path must end in {', '.join(SUFFIXES)}, got {own}")
    if not own.is_file():
        raise ValueError(f"path: no such file: {own}")
    read = _read_torch if own.suffix == TORCH else _read_onnx
    try:
        return read(own)
    except ImportError:
        raise
    except Exception as error:  # whatever zip, protocol buffers and the two runtimes raise
        raise ValueError(f"path: {own} is damaged, or no file that cmvae.export wrote") from error


def _read_torch(path: Path) -> Exported:
    files = {JSON: ""}
    with _quiet():
        program = torch.export.load(path, extra_files=files)
    return Exported(json.loads(files[JSON]), program.module())


def _read_onnx(path: Path) -> Exported:
    runtime = from_extra("onnxruntime", "onnx", "an ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Exported(json.loads(session.get_modelmeta().custom_metadata_map[KEY]), session)

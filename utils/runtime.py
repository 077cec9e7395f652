"""What OneFlow 0.9.0 needs from the machine, done once at set-up: `python -m utils.runtime`.

The wheel looks for cuDNN 8 and cuBLAS 11 in its own `oneflow.libs` folder and can't be imported without them, with
or without a GPU. It prints two lines of noise at each start, picks the slowest matrix kernels on processors newer
than itself, and puts a C handler on Ctrl-C that ends the process without Python's clean-up.

`install` links the libraries and copies this file into site-packages with a `.pth` line, so that every process of
the environment, the distributed launcher's included, imports OneFlow quietly and with the right settings.
Standard library only.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

SITE_MODULE = 'yolov5_oneflow_runtime'
NOISE = (b'libibverbs not available', b'CUDA driver version is insufficient', b'NumaAwareCudaMallocHost')
LIBRARIES = ('libcudnn.so.8', 'libcublas.so.11')


def install(site_packages: Path | None = None) -> None:
    """Make `import oneflow` work and stay quiet in this Python environment. Safe to repeat.

    Raises:
        FileNotFoundError: OneFlow or the NVIDIA libraries are not installed.
    """
    site = site_packages or Path(sysconfig.get_paths()['purelib'])
    if not (site / 'oneflow').is_dir():
        raise FileNotFoundError(f'{site}: oneflow is not installed; run pip install -r requirements.txt first')
    link_libraries(site)
    _write(site / f'{SITE_MODULE}.py', Path(__file__).read_text(encoding='utf-8'))
    _write(site / f'{SITE_MODULE}.pth', f'import {SITE_MODULE}; {SITE_MODULE}.watch_import()\n')


def link_libraries(site: Path) -> None:
    """Link the libraries of the nvidia-*-cu11 packages to where OneFlow's RPATH looks for them."""
    target = site / 'oneflow.libs'
    target.mkdir(exist_ok=True)
    for source in sorted(site.glob('nvidia/*/lib/lib*.so*')):
        link = target / source.name
        if link.is_symlink() or link.exists():
            link.unlink()
        link.symlink_to(os.path.relpath(source, target))
    missing = [name for name in LIBRARIES if not (target / name).exists()]
    if missing:
        raise FileNotFoundError(f'{site}/nvidia: lacks {", ".join(missing)}; run pip install -r requirements.txt first')


def _write(path: Path, text: str) -> None:
    """Replace a file in one step: another process may be starting from it."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_text(text, encoding='utf-8')
    os.replace(temporary, path)


class _OneFlowFinder(importlib.abc.MetaPathFinder):
    """Meets the first `import oneflow`, prepares the process for it, and steps aside."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name != 'oneflow':
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        os.environ.setdefault('GLOG_minloglevel', '2')
        if core := blas_core():
            os.environ.setdefault('OPENBLAS_CORETYPE', core)
        handler = signal.getsignal(signal.SIGINT)
        with drop_noise():
            self.loader.exec_module(module)
        with contextlib.suppress(ValueError):  # only a process's main thread may set handlers
            signal.signal(signal.SIGINT, handler or signal.default_int_handler)

    def __getattr__(self, name: str) -> object:  # get_code, is_package, ...: what `python -m oneflow...` asks for
        return getattr(self.loader, name)


def watch_import() -> None:
    """Prepare this process for its first `import oneflow`, whenever that comes."""
    if 'oneflow' not in sys.modules and not any(isinstance(f, _OneFlowFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, _OneFlowFinder())


def blas_core() -> str:
    """The OpenBLAS kernel set for this processor; the wheel's OpenBLAS knows none made after 2020.

    Haswell's (AVX2) were the fastest or within 5% of it on the processors measured, AVX-512 ones included.
    """
    with contextlib.suppress(OSError):
        flags = Path('/proc/cpuinfo').read_text(errors='replace').split('flags', 1)[-1].split('\n', 1)[0].split()
        return 'Haswell' if {'avx2', 'fma'} <= set(flags) else ''
    return ''


@contextlib.contextmanager
def drop_noise() -> Iterator[None]:
    """Hold back what C code writes to file descriptor 2 and let through all lines that are not known noise."""
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held:
                if not any(noise in line for noise in NOISE):
                    os.write(2, line)


if __name__ == '__main__':
    try:
        install()
    except OSError as error:
        sys.exit(f'Error: {error}')

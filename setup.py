"""Build of the compiled modules: every ext/PATH.pyx becomes the module classifier.PATH.

CLASSIFIER_SANITIZE=1 builds them with AddressSanitizer and UndefinedBehaviorSanitizer, without
optimisation that would hide a report (see `make asan`).

A build by another user than the checkout's owner (`sudo pip install .`), or where an earlier one
left folders that cannot be written to, takes place in a temporary folder and leaves nothing here.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from Cython.Build.Dependencies import create_dependency_tree
from setuptools import Extension, setup

SANITIZE = os.environ.get("CLASSIFIER_SANITIZE") == "1"
FLAGS = (
    [
        "-O1",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
    ]
    if SANITIZE
    else ["-O3", "-g1"]
)


def extension(source: Path) -> Extension:
    module = ".".join(("classifier", *source.relative_to("ext").with_suffix("").parts))
    return Extension(
        module,
        [str(source)],
        extra_compile_args=[*FLAGS, "-Wall", "-Wextra", "-Wno-unused-parameter"],
        extra_link_args=FLAGS if SANITIZE else [],
    )


def temporary_folder() -> str | None:
    """Where to build instead of in the checkout; None when that is the place."""
    here = Path()
    folders = [here, *here.glob("build"), *here.glob("build/*"), *here.glob("*.egg-info")]
    if here.stat().st_uid == os.geteuid() and all(os.access(f, os.W_OK) for f in folders):
        return None
    folder = tempfile.mkdtemp(prefix="nfq-classifier-build-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


TEMPORARY = temporary_folder()
BUILD = TEMPORARY or "build"
GENERATED = f"{BUILD}/sanitized" if SANITIZE else f"{BUILD}/cython"


def remove_stale(source: Path) -> None:
    """Have a module translated anew when its .pxd, or what that cimports, has changed.

    cythonize looks for a module's own .pxd beside its .pyx only, and ours lie in classifier/.
    """
    own = Path("classifier", source.relative_to("ext")).with_suffix(".pxd")
    generated = Path(GENERATED, source).with_suffix(".c")
    if own.exists() and generated.exists():
        changed, _ = create_dependency_tree().newest_dependency(str(own))
        if changed > generated.stat().st_mtime:
            generated.unlink()


SOURCES = sorted(Path("ext").rglob("*.pyx"))
for pyx in SOURCES:
    remove_stale(pyx)

setup(
    options={
        "build": {"build_base": BUILD},
        "bdist_wheel": {"bdist_dir": f"{BUILD}/wheel"},
        **({"egg_info": {"egg_base": TEMPORARY}} if TEMPORARY else {}),
    },
    ext_modules=cythonize(
        [extension(source) for source in SOURCES],
        build_dir=GENERATED,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": False,
        },
    ),
)

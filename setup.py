"""Build of the compiled modules: every ext/PATH.pyx becomes the module classifier.PATH.

CLASSIFIER_SANITIZE=1 builds them with AddressSanitizer and UndefinedBehaviorSanitizer, without
optimisation that would hide a report (see `make asan`).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
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


setup(
    ext_modules=cythonize(
        [extension(source) for source in sorted(Path("ext").rglob("*.pyx"))],
        build_dir="build/sanitized" if SANITIZE else "build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": False,
        },
    )
)

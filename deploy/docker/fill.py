"""Fill the image's environment with wheels: `fill.py WHEELS ENVIRONMENT`. The Dockerfile runs it.

What no process of Reach reads is left out, and what they import is compiled: nothing can be, later,
where the file system is read-only.
"""

import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

#: Below site-packages. Databases other than ours, lexers of languages that nobody is shown, tests.
LEFT_OUT = (
    "*/test",
    "*/tests",
    "pygments/lexers/[!_]*.py",
    "sqlalchemy/dialects/mssql",
    "sqlalchemy/dialects/mysql",
    "sqlalchemy/dialects/oracle",
    "sqlalchemy/testing",
)
#: What extensions were made of, and what only type checkers read.
SOURCES = ("*.c", "*.cpp", "*.h", "*.pyx", "*.pxd", "*.pxi", "*.pyi", "*.proto")
#: Prints the files that Reach comes to import: its own, and what it or a library chooses by name.
IMPORTED = """
import importlib, pkgutil, reach, sys
ours = [m.name for m in pkgutil.walk_packages(reach.__path__, "reach.")]
chosen = [
    "asyncpg", "checkdmarc.dmarc", "dkim", "h11", "httpcore2", "httpx2", "joserfc.jwt",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter", "redis.asyncio",
    "rich.markdown", "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.pysqlite", "typer.rich_utils", "uvicorn.lifespan.on",
    "uvicorn.loops.auto", "uvicorn.protocols.http.auto",
]
for name in [name for name in ours if ".migrations" not in name] + chosen:
    importlib.import_module(name)
print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)), sep="\\n")
"""


def main(wheels: Path, environment: Path) -> None:
    """Install, trim, compile."""
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    options = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
    run(*pip, "install", *options, *sorted(map(str, wheels.glob("*.whl"))))
    (packages,) = environment.glob("lib/python3.*/site-packages")
    trim(packages)
    imported = set(map(Path, run(python, "-B", "-c", IMPORTED).splitlines()))
    for file in (imported & set(packages.rglob("*.py"))) | set(packages.glob("reach/**/*.py")):
        # By its content, unchecked: the copy to the last stage may change what it is dated.
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(file), doraise=True, invalidation_mode=mode)


def trim(packages: Path) -> None:
    """Leave out what nothing reads, and of libraries in C what debuggers do."""
    for pattern in LEFT_OUT:
        for path in packages.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for pattern in SOURCES:
        for path in packages.rglob(pattern):
            path.unlink()
    run("strip", "--strip-unneeded", *map(str, packages.rglob("*.so")))


def run(*command: str) -> str:
    """Run a command, and give what it says. Raises CalledProcessError."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

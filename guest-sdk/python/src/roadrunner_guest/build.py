"""`roadrunner-guest build MODULE`: makes a component of a Python program.

The program is imported while the component is built, and every instance starts from what its memory held then. What is
not imported by then cannot be imported later: there is no filesystem in an instance.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

_MAIN = """\
import {module}
from roadrunner_guest.adapter import EventLoopExport as EventLoop
from roadrunner_guest.adapter import Handler, Streaming, Websocket
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="roadrunner-guest", description="Builds Roadrunner guests in Python.")
    build_command = parser.add_subparsers(required=True).add_parser("build", help="make a component")
    build_command.add_argument("module", help="the module with the handler: `app` for app.py")
    build_command.add_argument("-o", "--output", type=Path, help="the component's file; default: MODULE.wasm")
    build_command.add_argument(
        "-p", "--path", type=Path, action="append", help="a folder with modules, repeatable; default: this folder"
    )
    options = parser.parse_args()
    output = options.output or Path(f"{options.module}.wasm")
    try:
        build(options.module, output, options.path or [Path()])
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


def build(module: str, output: Path, paths: list[Path]) -> None:
    """Writes the component of the program `module`, which is found in `paths` or is installed."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"{module!r} is not the name of a module: write `app` for app.py")
    here = Path(__file__).parent
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "roadrunner_main.py").write_text(_MAIN.format(module=module))
        command = [_componentize_py(), "--quiet", "--wit-path", str(here / "wit"), "--world", "python"]
        command += ["componentize", "roadrunner_main", "--output", str(output.absolute()), "--python-path", scratch]
        for folder in [*paths, here.parent]:
            command += ["--python-path", str(folder.absolute())]
        subprocess.run(command, check=True)


def _componentize_py() -> str:
    """The one that is installed beside this program, or the first on the path."""
    beside = Path(sysconfig.get_path("scripts")) / "componentize-py"
    found = str(beside) if beside.is_file() else shutil.which("componentize-py")
    if found is None:
        raise FileNotFoundError("componentize-py is not installed: `pip install componentize-py`")
    return found


if __name__ == "__main__":
    main()

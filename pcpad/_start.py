"""Start a module's `main` in a separate process in which Python's own modules come first; run by its path.

`python -m` puts the current folder first, and `PYTHONPATH` its folders before the standard library. A `random.py` in
the current folder, or next to a checkout, would then replace Python's. Here pcpad's folder comes last.
"""

import sys
from importlib import import_module
from pathlib import Path


def main() -> int:
    """Run `main` of the module that the first argument names, with the others; they stay in `sys.argv`.

    Lightning starts the further processes of a run on several devices by the command of the first.

    Returns:
        The exit code.
    """
    here = Path(__file__).resolve().parent
    # Without -P, as when Lightning starts it again, Python puts this folder first: it has modules of common names.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != here]
    if str(here.parent) not in sys.path:
        sys.path.append(str(here.parent))
    module, *args = sys.argv[1:]
    code: int = import_module(module).main(*args)
    return code


if __name__ == "__main__":
    sys.exit(main())

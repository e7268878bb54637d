"""Snakemake, the command line and Python, forked from a process that has imported everything.

Most of the time of a short job goes to imports. The programs here take the same words, streams,
environment, folder and process group as the installed ones, and run in processes of their own.
"""

import functools
import gc
import marshal
import os
import pkgutil
import shutil
import site
import socket
import socketserver
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path

# The variable that names the Python with which a Snakemake that is forked starts another one.
CHILDS_PYTHON = "FORKED_SNAKEMAKES_PYTHON"
NAMES = ("python", "snakemake", "speechprompt")
# What is imported only where it is used; by torch, at the first step of a training.
LIBRARIES = (
    *("fontTools.subset.cff", "fontTools.subset.svg", "joblib", "matplotlib.backends.backend_agg"),
    *("matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "PIL.JpegImagePlugin"),
    *("pandas.io.formats.csvs", "pyarrow.pandas_compat", "scipy.optimize", "sklearn.cluster"),
    *("sklearn.manifold", "snakemake.cli", "snakemake.benchmark", "snakemake.profiles"),
    *("snakemake.storage", "snakemake.report.html_reporter", "torch._dynamo", "torchaudio"),
)
# Python without its site directories starts in a few milliseconds; so much does each module cost,
# which is why these are those that are built in.
CLIENT = """#!{python} -IS
import _socket, marshal, posix, sys
server = _socket.socket(_socket.AF_UNIX)
server.connect({address!r})
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
server.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
server.sendall(marshal.dumps([sys.argv, posix.getcwd(), posix.getpgrp(), posix.environ]))
server.shutdown(_socket.SHUT_WR)
status = server.recv(10)
if not status:
    posix.kill(posix.getpid(), 9)  # as somebody has done with the process that runs
sys.exit(int(status))
"""
# The server's, whatever the test that starts it has changed. OpenMP reads it once, when torch is
# loaded: Snakemake gives its jobs one thread, and threads that wait must not keep a core busy.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@functools.cache
def programs() -> Path:
    """The folder of the programs. Their server runs as long as this process.

    Of Python there are ``python -c CODE`` and ``python -m snakemake`` only.
    """
    folder = Path(tempfile.mkdtemp())
    address = str(folder / "socket")
    for name in NAMES:
        program = folder / name
        program.write_text(CLIENT.format(python=sys.executable, address=address))
        program.chmod(0o755)
    words = [sys.executable, "-P", __file__, address]
    server = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    return folder


class Run(socketserver.BaseRequestHandler):
    """One run of a program, in a process forked for it."""

    def handle(self) -> None:
        _, streams, *_ = socket.recv_fds(self.request, 1, 3)
        request = marshal.loads(self.request.makefile("rb").read())
        (program, *words), folder, group, environment = request
        with suppress(PermissionError):  # a process group of another session, such as Slurm's
            os.setpgid(0, group)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environb.update(environment)
        sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.argv = [program, *words]
        sys.modules.pop("sitecustomize", None)
        site.execsitecustomize()
        status = 1
        try:
            status = run(Path(program).name, words)
        except SystemExit as end:
            status = end.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            self.request.sendall(b"%d" % (status or 0))


def run(program: str, words: list[str]) -> int | None:
    """Run a program in this process; return its exit status."""
    sys.executable = os.environ.get(CHILDS_PYTHON, sys.executable)
    if program == "python":
        if words[0] == "-m":
            return run(words[1], words[2:])
        exec(words[1], {"__name__": "__main__"})
        return 0
    return import_module(f"{program}.cli").main(words)


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Forks for each run, and ends with the process that has started it."""

    block_on_close = False
    parent = os.getppid()

    def service_actions(self) -> None:
        super().service_actions()
        if os.getppid() != self.parent:
            sys.exit()


def serve(address: str) -> None:
    """Import all that a run may need, then wait for runs."""
    package = import_module("speechprompt")
    for name in LIBRARIES:
        import_module(name)
    for module in pkgutil.walk_packages(package.__path__, "speechprompt."):
        import_module(module.name)
    import_module("snakemake.cli").get_argument_parser()  # which looks for Snakemake's plugins
    # Every start of Snakemake digests the package's code. What is read here is not read again.
    for verb in import_module("speechprompt.cli.verbs").VERBS.values():
        import_module("speechprompt.storage.code_digest").digest(*verb.functions)
    gc.freeze()
    try:
        with Server(address, Run) as server:
            print("ready", flush=True)
            server.serve_forever()
    finally:
        shutil.rmtree(Path(address).parent)


if __name__ == "__main__":
    serve(sys.argv[1])

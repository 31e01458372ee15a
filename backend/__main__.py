"""The command line, ``python -m backend COMMAND``: generate, cutout, farm, serve, mcp, device, compile; models,
download, verify, delete; fetch; check-goldens."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from . import protocol
from .errors import describe
from .farm.options import add_options as add_farm_options
from .signals import end_as_interrupted
from .store.catalog import PUBLISHED
from .store.index import PYPI, TORCH
from .store.transfer import TIMEOUT

#: Where networks can run: NVIDIA's and AMD's GPUs are cuda, Intel's xpu, Apple's mps.
DEVICES = ("cpu", "cuda", "xpu", "mps")

#: The option that says which object in an image is meant.
POINT = "the object here is meant, not the largest: fractions of width and height from the top left"
XY: dict[str, Any] = {"nargs": 2, "type": float, "metavar": ("X", "Y")}


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 failed (one sentence on stderr says why), 2 wrong usage, 130
    interrupted, by Ctrl-C or by the system's request to end."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show must not end the work
            stream.reconfigure(errors="backslashreplace")
    if options.command != "serve":
        end_as_interrupted()
    try:
        return _run(options)
    except KeyboardInterrupt:
        return _fail("Cancelled.", 130)


def _run(options: argparse.Namespace) -> int:
    if options.command == "check-goldens":
        return check_goldens(options)
    if options.models_folder is not None:
        os.environ[protocol.MODELS_VARIABLE] = str(options.models_folder.absolute())
    if options.command == "serve":
        if options.overlap:  # before torch is imported: threads that wait for each other leave the core to another job
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from .serving.loop import serve

        return serve(options.device, overlap=options.overlap)
    if options.command == "mcp":
        from .serving import tool_server

        return tool_server.serve(options.allow, options.device)
    if options.attached:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    if options.command == "models":
        from .serving.model_list import models

        return models(options)
    if options.command in ("download", "verify", "delete"):
        from .store import commands

        return int(getattr(commands, options.command)(options))
    if options.command == "fetch":
        from .store import wheels

        return wheels.fetch(options)
    if options.command == "cutout":
        from .serving.cutouts import cut_out_all

        return cut_out_all(options)
    if options.command == "farm":
        from .farm.command import run

        return run(options)
    if options.command == "device":
        return device()
    if options.command == "compile":
        from .images import refine
        from .mesh import finish, printing

        finish.warm(seldom=True)
        printing.warm()
        refine.warm()
        return 0
    try:
        return generate(options)
    except Exception as error:  # the command ends here, and says in words what went wrong (--traceback shows more)
        if options.traceback:
            raise
        _, message, hint = describe(error, options.out)
        return _fail(f"{message} {hint}".strip(), 1)


def generate(options: argparse.Namespace) -> int:
    """Make one object from one or several images of it, and print where it is."""
    from .serving.loop import claim_standard_streams

    stdout = claim_standard_streams()[1] if options.json else None
    request = protocol.Generate(
        job="cli",
        images=tuple(str(Path(image).resolve()) for image in options.images),
        out=str(options.out),
        mesh="" if options.mesh is None else str(options.mesh.absolute()),
        guide="" if options.guide is None else str(options.guide.absolute()),
        points=tuple(tuple(point) for point in options.point),
        **protocol.from_options(options, protocol.Door.COMMAND),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    from .serving import job  # imports torch, which --help and wrong options do not need
    from .serving.device import choose_device
    from .serving.warm_models import WarmModels

    models = WarmModels(choose_device(options.device), verify=options.verify)
    result = job.run(
        request,
        models,
        on_progress=_show_progress,
        on_preview=lambda path: None,
        check=lambda: None,
        durable=True,
    )
    if stdout is not None:
        stdout.write(json.dumps(_summary(result, str(models.device))).encode() + b"\n")
        stdout.flush()
    else:
        counts, total = result.counts, result.timings["total"]
        print(f"{result.glb} ({counts['faces']} faces, {total:.1f} s)")
        if result.note:
            print(result.note)
    return 0


def device() -> int:
    """Print, as reports, which device the networks would run on, and what it cannot compute."""
    import torch

    from .serving.device import check_device, choose_device, device_memory, device_title

    chosen = choose_device()
    report = protocol.Device(device_title(chosen), device_memory(chosen), torch.__version__)
    print(protocol.encode(report), end="", flush=True)  # before the check, which a broken driver may not survive
    print(protocol.encode(protocol.DeviceCheck(check_device(chosen))), end="", flush=True)
    return 0


def _end_with_stdin() -> None:
    """End the process when stdin closes: the program that started it has gone."""
    while os.read(0, 4096):
        pass
    os._exit(130)


def check_goldens(options: argparse.Namespace) -> int:
    """Compare the networks with the reference's stored figures, and print a line for each case."""
    from .errors import SettingsError
    from .goldens.check import check_folder, report
    from .serving.device import choose_device

    try:
        chosen = choose_device(options.device)
    except SettingsError as error:
        return _fail(f"{error} {error.hint}", 1)
    return report(check_folder(options.folder, options.family, options.slow, chosen), options.json)


def _summary(result: protocol.Result, device: str) -> dict[str, Any]:
    return {
        "timings": result.timings,
        "counts": result.counts,
        "settings": result.settings,
        "device": device,
        "files": _files(result),
    }


def _files(result: protocol.Result) -> dict[str, str]:
    files = {"glb": result.glb, "texture": result.texture, "normal_map": result.normal_map}
    files |= {"occlusion": result.occlusion, "arrays": result.arrays}
    return {kind: path for kind, path in files.items() if path} | result.files


def _show_progress(stage: str, step: int, steps: int) -> None:
    if sys.stderr.isatty():
        print(
            f"\r\x1b[K{stage} {step}/{steps}" if steps > 1 else f"\r\x1b[K{stage}", end="", file=sys.stderr, flush=True
        )


def _fail(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m backend", description="From an image to a textured mesh.")
    parser.set_defaults(models_folder=None, attached=False)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("generate", help="make one object from one or several images of it")
    command.add_argument("images", nargs="+", metavar="IMAGE", help="reference images, all of the same object")
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the files (made if missing)"
    )
    protocol.add_options(command, protocol.Door.COMMAND)
    command.add_argument(
        "--mesh", type=Path, metavar="NPZ", help="keep this mesh's shape (vertices, faces and uvs) and texture it"
    )
    command.add_argument(
        "--guide", type=Path, metavar="NPZ", help="follow this mesh's shape (vertices, faces), see --shape-strength"
    )
    command.add_argument(
        "--point",
        action="append",
        default=[],
        help=f"{POINT}. With several images, once for each, in their order",
        **XY,
    )
    command.add_argument("--verify", action="store_true", help="compare downloaded weights with their recorded SHA-256")
    command.add_argument("--json", action="store_true", help="print one line of JSON: times, counts, settings, files")
    command.add_argument("--traceback", action="store_true", help="show where an error comes from")
    _add_device(command)
    _add_models_folder(command)

    command = commands.add_parser("cutout", help="cut the objects out of images: a PNG with alpha for each")
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="images, each of one object or several")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for them (made if missing)")
    protocol.add_options(command, protocol.Door.COMMAND, only=("background",))
    command.add_argument("--point", help=POINT, **XY)
    command.add_argument("--traceback", action="store_true", help="show where an error comes from")
    _add_models_folder(command)

    command = commands.add_parser("farm", help="make thousands of objects on a Ray cluster, or on all of this machine")
    add_farm_options(command)
    _add_models_folder(command)

    command = commands.add_parser("serve", help="answer requests on stdin with messages on stdout, as Blender uses it")
    help = "for many objects: finish one while the next is made on a processor too; a single one takes longer then"
    command.add_argument("--overlap", action="store_true", help=help)
    _add_device(command)
    _add_models_folder(command)

    command = commands.add_parser("mcp", help="answer an assistant's calls of tools on stdin and stdout, in folders")
    help = "a folder to read images and meshes from and to write assets to; may be given several times"
    command.add_argument("--allow", action="append", type=Path, required=True, metavar="FOLDER", help=help)
    _add_device(command)
    _add_models_folder(command)

    command = commands.add_parser("models", help="list the models: bundled, installed, and those to download")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    _add_models_folder(command)

    command = commands.add_parser("download", help="install a model and what it needs")
    command.add_argument("name", choices=sorted(PUBLISHED), metavar="NAME", help=", ".join(PUBLISHED))
    command.add_argument(
        "--from", type=Path, dest="source", metavar="FOLDER", help="take it from this folder, without a network"
    )
    command.add_argument("--yes", action="store_true", help="accept the licenses without being asked")
    command.add_argument("--json", action="store_true", help="print progress and result as lines of JSON")
    command.add_argument("--traceback", action="store_true", help="show where an error comes from")
    _add_attached(command)
    _add_models_folder(command)

    for name, help in (("verify", "check the hashes of an installed model"), ("delete", "remove an installed model")):
        command = commands.add_parser(name, help=help)
        command.add_argument("name", choices=sorted(PUBLISHED), metavar="NAME", help=", ".join(PUBLISHED))
        command.add_argument("--json", action="store_true", help="print progress and result as lines of JSON")
        command.add_argument("--traceback", action="store_true", help="show where an error comes from")
        _add_attached(command)
        _add_models_folder(command)

    commands.add_parser("device", help="print as JSON which device would be used")
    commands.add_parser("compile", help="make the machine code that the first job would have to wait for")

    command = commands.add_parser("fetch", help="bring the wheels of a build of torch, as the extension installs them")
    command.add_argument("packages", type=Path, metavar="PACKAGES_JSON", help="the extension's locks")
    command.add_argument("build", metavar="BUILD", help="the build, such as cpu")
    command.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the wheels go")
    command.add_argument("--index-url", default=PYPI, metavar="URL", help="the package index (default: %(default)s)")
    command.add_argument("--torch-index", default=TORCH, metavar="URL", help="torch's own (default: %(default)s)")
    command.add_argument("--recorded", type=Path, metavar="FILE", help="hashes of earlier installations, as JSON")
    help = "how long a server may be silent (default: %(default)s)"
    command.add_argument("--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help=help)
    command.add_argument("--from", type=Path, dest="source", metavar="FOLDER", help="a folder of wheels: no network")
    _add_attached(command)

    command = commands.add_parser("check-goldens", help="compare the networks with the reference's stored figures")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="where the cases are, also in folders inside it")
    command.add_argument("--family", help="check only the cases of this family")
    command.add_argument("--slow", action="store_true", help="check the networks of full size too: minutes, 5 GB")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run them; default: cpu")
    return parser


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=DEVICES, help="default: cuda or xpu if there is one, else cpu")


def _add_attached(command: argparse.ArgumentParser) -> None:
    command.add_argument("--attached", action="store_true", help="end when stdin closes, as Blender uses it")


def _add_models_folder(command: argparse.ArgumentParser) -> None:
    help = f"where models are installed (default: ${protocol.MODELS_VARIABLE}, else the user's data folder)"
    command.add_argument("--models-folder", type=Path, metavar="DIR", help=help)


if __name__ == "__main__":
    sys.exit(main())

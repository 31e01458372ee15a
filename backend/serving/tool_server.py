"""A tool server for assistants: the Model Context Protocol over standard input and output. Nothing listens on a port.

The main thread runs the jobs, one at a time, with the model kept warm. The protocol's own SDK answers in a thread
beside it, so that a cancel arrives in the middle of a sampling step, and the end of stdin (the assistant has gone) ends
the process. The SDK is no part of the extension's zip: the extra ``mcp`` in pyproject.toml has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from .. import protocol
from ..config import version
from ..errors import BackendError, JobCancelled, describe
from ..memory import give_back, share_one_arena
from ..names import printable
from . import tools
from .allowed import Folders
from .loop import EXIT_GRACE, claim_standard_streams, warm_up

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server.context import ServerRequestContext

    from .workshop import Workshop

#: The SDK as pyproject.toml pins it.
SDK = "mcp==2.3.0"

INSTRUCTIONS = (
    "Espalier makes textured 3-D meshes from images, on this computer. Files are read from and written to these "
    "folders alone: {folders}. Paths that are relative begin in the first. One object is made at a time; that takes "
    "from seconds to minutes, and progress is reported."
)

#: What a call gets to hear: how far it is, what it made, why it failed. None: it was cancelled.
News: TypeAlias = "protocol.Progress | dict[str, Any] | protocol.Error | None"


@dataclass(eq=False)
class Call:
    """A call of a tool that waits for its turn, or runs."""

    tool: str
    arguments: Mapping[str, Any]
    loop: asyncio.AbstractEventLoop
    news: asyncio.Queue[News] = field(default_factory=asyncio.Queue)
    is_over: bool = False  # nobody waits for it any more

    def tell(self, news: News) -> None:
        """Tell the call something, from the thread that runs the jobs."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there
            self.loop.call_soon_threadsafe(self.news.put_nowait, news)

    def check(self) -> None:
        """Raise JobCancelled if the job should end."""
        if self.is_over:
            raise JobCancelled


def serve(allowed: Sequence[Path], device_name: str | None = None) -> int:
    """Answer calls of tools until stdin closes, then end the process. Returns the exit code only on failure."""
    if importlib.util.find_spec("mcp") is None:
        return _fail(f"The tool server needs the package mcp, which is not there. Install it: {_install()}")
    share_one_arena()
    stdin, stdout = claim_standard_streams()
    try:
        folders = Folders(allowed)
        work = Path(tempfile.mkdtemp(prefix="espalier-")).resolve()
    except BackendError as error:
        return _fail(f"{error} {error.hint}".strip())
    except OSError as error:
        return _fail(f"No temporary folder can be made: {error.strerror}. TMPDIR chooses another place.")
    if protocol.MODELS_VARIABLE in os.environ:
        os.environ[protocol.MODELS_VARIABLE] = os.path.abspath(os.environ[protocol.MODELS_VARIABLE])
    os.chdir(work)  # nothing is found by chance in the folder that the server was started in
    calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
    code = 1
    try:
        threading.Thread(target=_answer, args=(stdin, stdout, folders, calls, work), daemon=True, name="mcp").start()
        code = _run(folders, calls, work, device_name)
    except KeyboardInterrupt:
        code = 130
    except Exception:  # Python would print it after the end, which does not come
        traceback.print_exc()
    finally:
        _end(work, code)
    return code


def _run(folders: Folders, calls: queue.SimpleQueue[Call | None], work: Path, device_name: str | None) -> int:
    """Run the jobs of calls until there will be no more. Returns the exit code."""
    from .device import choose_device  # imports torch, while the assistant is being answered
    from .warm_models import WarmModels
    from .workshop import Workshop

    try:
        device = choose_device(device_name)
    except BackendError as error:
        return _fail(f"{error} {error.hint}".strip())
    threading.Thread(target=warm_up, args=(device,), daemon=True, name="warm").start()
    workshop = Workshop(folders, WarmModels(device), work)
    while (call := calls.get()) is not None:
        call.tell(_carry_out(workshop, call))
        give_back()  # as in ``loop``: else what a job leaves between the next one's blocks grows for hundreds of jobs
    return 0


def _carry_out(workshop: Workshop, call: Call) -> News:
    def send(message: protocol.Message) -> None:
        if isinstance(message, protocol.Progress):
            call.tell(message)

    try:
        call.check()
        made = workshop.make(call.tool, call.arguments, check=call.check, send=send)
    except JobCancelled:
        return None
    if isinstance(made, protocol.Error) and made.code == protocol.DEVICE_LOST:
        return protocol.Error(None, made.code, made.message, "Start this tool server anew.")
    return made


def _answer(
    stdin: BinaryIO, stdout: BinaryIO, folders: Folders, calls: queue.SimpleQueue[Call | None], work: Path
) -> None:
    """Speak the protocol until stdin closes: this is what the thread beside the jobs does. Then end the process."""
    try:
        asyncio.run(_speak(stdin, stdout, folders, calls))
    except Exception:  # whatever it is, nobody can be answered any more
        traceback.print_exc()
    calls.put(None)
    time.sleep(EXIT_GRACE)
    _end(work, 0)  # reached only if the main thread is in one long call: otherwise it has ended the process by now


def _end(work: Path, code: int) -> None:
    """End the process at once: Python's normal shutdown does not survive a thread that compiles, or one that reads."""
    os.chdir(work.parent)
    shutil.rmtree(work, ignore_errors=True)  # on Windows, something may still have a file of it open
    sys.stderr.flush()
    os._exit(code)


async def _speak(stdin: BinaryIO, stdout: BinaryIO, folders: Folders, calls: queue.SimpleQueue[Call | None]) -> None:
    import anyio
    import mcp_types as types
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server

    async def list_tools(
        context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(name) for name in tools.TOOLS])

    async def call_tool(
        context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        return _result(await _call(context, params.name, params.arguments or {}, calls))

    words = printable(INSTRUCTIONS.format(folders=", ".join(map(str, folders.roots))))
    server: Server[Any] = Server(
        "espalier",
        version=version(),
        title="Espalier",
        instructions=words,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    reader = anyio.wrap_file(io.TextIOWrapper(io.BufferedReader(stdin), "utf-8", errors="replace"))  # type: ignore[type-var]
    writer = anyio.wrap_file(io.TextIOWrapper(stdout, "utf-8", newline="\n"))
    async with stdio_server(reader, writer) as (messages, answers):
        await server.run(messages, answers, server.create_initialization_options())


async def _call(
    context: ServerRequestContext[Any, Any],
    name: str,
    arguments: Mapping[str, Any],
    calls: queue.SimpleQueue[Call | None],
) -> dict[str, Any] | protocol.Error:
    """Let a call wait for its turn, report its progress, and return what came of it."""
    if name == "list_models":
        return await asyncio.to_thread(_listed)
    if name not in tools.TOOLS:
        known = ", ".join(tools.TOOLS)
        return protocol.Error(None, "tool_unknown", f"There is no tool {name!r}.", f"Choose one of {known}.")
    call = Call(name, arguments, asyncio.get_running_loop())
    calls.put(call)
    try:
        while isinstance(news := await call.news.get(), protocol.Progress):
            await context.session.report_progress(news.fraction, 1.0, news.stage)
    finally:
        call.is_over = True
    return protocol.Error(None, "cancelled", "The call was cancelled.") if news is None else news


def _listed() -> dict[str, Any] | protocol.Error:
    try:
        return tools.models()
    except Exception as error:  # whatever is wrong with one call, the server answers the next one
        return protocol.Error(None, *describe(error))


def _described(name: str) -> types.Tool:
    import mcp_types as types

    tool = tools.TOOLS[name]
    return types.Tool(
        name=name,
        title=tool.title,
        description=tool.words,
        input_schema=tools.schema(name),
        annotations=types.ToolAnnotations(
            read_only_hint=not tool.has_settings,
            destructive_hint=tool.has_settings,  # an asset of the same images and name is replaced
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )


def _result(made: dict[str, Any] | protocol.Error) -> types.CallToolResult:
    import mcp_types as types

    failed, told = isinstance(made, protocol.Error), made
    if isinstance(made, protocol.Error):
        told = {"code": made.code, "message": made.message, "hint": made.hint}
    # A name that is not UTF-8 must not end the conversation: the SDK cannot write it.
    words = printable(json.dumps(told, indent=1, ensure_ascii=False))
    told = json.loads(words)
    text = f"{told['message']} {told['hint']}".strip() if failed else words
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=told,
        is_error=failed,
    )


def _install() -> str:
    """The command that installs the SDK. The environment that the extension makes has no pip."""
    if importlib.util.find_spec("pip") is None:
        return f'uv pip install --python "{sys.executable}" {SDK}'
    return f'"{sys.executable}" -m pip install {SDK}'


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return 1

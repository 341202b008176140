"""A real browser on a real JupyterLab, Notebook 7 or marimo: what is tested is what a person sees."""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import servers
from jupyter_client import BlockingKernelClient
from playwright.sync_api import Browser, Page, expect, sync_playwright

SHOTS = Path(__file__).parents[1] / "build" / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--disable-dev-shm-usage",
]
SIZE = {"width": 1280, "height": 1000}
SETTINGS = {"fetchNews": "false", "checkForUpdates": False}
DONE = "ALL-DONE"
# Notebook 7 while it starts, with or without widgets: https://github.com/jupyter/notebook/issues/7862
RACE = "Cannot read properties of undefined (reading 'schema')"
OPEN = """async ([path, run]) => {
  const app = window.jupyterapp;
  const shown = await app.commands.execute('docmanager:open', {path});
  await shown.context.ready;
  await shown.context.sessionContext.ready;
  await shown.revealed;
  if (run) await app.commands.execute('notebook:run-all-cells');
}"""
RUN = """async () => {
  const app = window.jupyterapp;
  await app.restored;
  const { context } = app.shell.currentWidget;
  await context.ready;
  await context.sessionContext.ready;
  await app.commands.execute('notebook:run-all-cells');
}"""
# What a person does who presses the ✕: the focus goes there first, which sends what was typed last.
CLOSE = """async () => {
  document.activeElement?.blur();
  const shown = window.jupyterapp.shell.currentWidget;
  if (!shown?.context?.sessionContext) return;
  const { context } = shown;
  context.model.dirty = false;
  const gone = new Promise((done) => shown.disposed.connect(() => done()));
  shown.close();
  await gone;
}"""


@dataclass
class Lab:
    """A JupyterLab with one page, on which notebooks are opened one after the other."""

    url: str
    token: str
    base: Path
    page: Page
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, *cells: str) -> Page:
        """Run a notebook of these cells, and give the page that shows it."""
        self.close()
        self.page.evaluate(OPEN, [self.written(*cells), True])
        self.page.get_by_text(DONE, exact=True).wait_for(timeout=60_000)
        return self.page

    def written(self, *cells: str) -> str:
        """Write a notebook of these cells, and give its name."""
        name = f"{time.monotonic_ns()}.ipynb"
        marker = f"print('{DONE[:3]}' + '{DONE[3:]}')"
        made = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in (*cells, marker)],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(made, self.base / "notebooks" / name)
        return name

    def look(self, notebook: Path) -> Page:
        """Open a notebook as it is stored, without running it."""
        self.close()
        shutil.copy(notebook, self.base / "notebooks")
        self.page.evaluate(OPEN, [notebook.name, False])
        return self.page

    def close(self) -> None:
        """Close the notebook that is open, and end its kernel."""
        self.page.wait_for_timeout(500)  # jupyter-scatter sends what it noted last after a quarter of a second
        self.page.evaluate(CLOSE)
        self.end_kernels()

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the kernel of the notebook that is open; it gives JSON or a NumPy scalar."""
        kernel = self._api("/api/sessions")[0]["kernel"]["id"]
        client = BlockingKernelClient(connection_file=str(self.base / "run" / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels(hb=False)
        asked = {"v": f"__import__('json').dumps({expression}, default=lambda one: one.item())"}
        try:
            reply = client.execute("", user_expressions=asked, silent=True, store_history=False, reply=True, timeout=30)
        finally:
            client.stop_channels()
            client.context.destroy(linger=0)  # each client has its own, with files that stay open
        got = reply["content"]["user_expressions"]["v"]
        assert got["status"] == "ok", got
        return json.loads(eval(got["data"]["text/plain"]))  # noqa: S307 - the repr of a text, from our own kernel

    def until(self, expression: str, wanted: Any) -> None:
        """Wait until an expression gives what is wanted."""
        for _ in range(50):
            if (got := self.value(expression)) == wanted:
                return
            time.sleep(0.1)
        assert got == wanted, f"{expression} is {got!r}"

    def shot(self, name: str, *, widget: bool = False) -> None:
        """Keep a picture of the page, or of a whole widget, also where it is taller than the page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        if not widget:
            self.page.screenshot(path=SHOTS / f"{name}.png")
            return
        self.page.set_viewport_size(SIZE | {"height": 2 * SIZE["height"]})
        self.page.locator(".dkv-widget").first.screenshot(path=SHOTS / f"{name}.png")
        self.page.set_viewport_size(SIZE)

    def theme(self, name: str) -> None:
        """Change the theme, and wait until it is there."""
        self.page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def _api(self, path: str) -> Any:
        return json.load(urllib.request.urlopen(f"{self.url}{path}?token={self.token}", timeout=10))  # noqa: S310

    def end_kernels(self) -> None:
        """End the kernels, which would outlive their server."""
        for one in self._api("/api/sessions"):
            asked = urllib.request.Request(  # noqa: S310 - our own server
                f"{self.url}/api/sessions/{one['id']}?token={self.token}", method="DELETE"
            )
            with suppress(OSError):
                urllib.request.urlopen(asked, timeout=10).close()  # noqa: S310


class Marimo(Lab):
    """An app of marimo, whose cells run again when the page wrote to what they read."""

    def until(self, expression: str, wanted: Any) -> None:
        """Wait until the cell that shows an expression shows what is wanted."""
        expect(self.page.get_by_text(f"{expression} is {json.dumps(wanted)}", exact=True)).to_be_visible()

    def end_kernels(self) -> None:
        """Leave that to the server, which holds them."""


@dataclass
class Server:
    """A Jupyter server with a folder of its own."""

    url: str
    token: str
    base: Path
    chromium: str


@contextmanager
def lab(server: Server):
    """Open JupyterLab in a browser."""
    with _browsing(server, Lab) as made:
        made.page.goto(f"{server.url}/lab?token={server.token}&reset")
        made.page.wait_for_function("() => window.jupyterapp?.restored", timeout=60_000)
        made.page.evaluate("async () => { await window.jupyterapp.restored; }")
        made.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        yield made


@contextmanager
def notebook(server: Server, *cells: str):
    """Run a notebook of these cells in Notebook 7, in a browser."""
    with _browsing(server, Lab) as made:
        made.page.goto(f"{server.url}/notebooks/{made.written(*cells)}?token={server.token}")
        made.page.wait_for_function("() => window.jupyterapp?.restored", timeout=60_000)
        made.page.evaluate(RUN)
        made.page.get_by_text(DONE, exact=True).wait_for(timeout=60_000)
        yield made


@contextmanager
def marimo(base: Path, cells: list[str], watched: list[str]):
    """Run an app of these cells in marimo, in a browser, with a cell more for each expression that is watched."""
    shown = [f"mo.plain_text({f'{one} is '!r} + json.dumps({one}))" for one in watched]
    bodies = [textwrap.indent(one.strip(), "    ") for one in ["import json, marimo as mo", *cells, *shown]]
    app = "import marimo\n\napp = marimo.App()\n" + "".join(f"\n\n@app.cell\ndef _():\n{one}\n" for one in bodies)
    (base / "app.py").write_text(app, encoding="utf-8")
    chromium, url = servers.program("chromium"), f"http://127.0.0.1:{_free_port()}"
    homes = {f"XDG_{name}_HOME": str(base / name) for name in ("CONFIG", "CACHE", "STATE", "DATA")}
    command = [
        *(sys.executable, "-m", "marimo", "run", str(base / "app.py"), "--headless", "--no-token"),
        *("--host=127.0.0.1", f"--port={url.rpartition(':')[2]}"),
    ]
    with (
        _running(command, os.environ | homes | {"MARIMO_SKIP_UPDATE_CHECK": "1"}, f"{url}/health", base / "server.log"),
        _browsing(Server(url, "", base, chromium), Marimo) as made,
    ):
        made.page.goto(url)
        yield made


@contextmanager
def _browsing(server: Server, kind: type[Lab]):
    """Open a browser, and note what goes wrong there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=server.chromium, args=FLAGS)
        made = kind(server.url, server.token, server.base, _page(browser))
        _watch(made)
        yield made
        made.end_kernels()
        browser.close()


def _page(browser: Browser) -> Page:
    page = browser.new_page(viewport=SIZE)
    page.set_default_timeout(15_000)
    return page


def _watch(made: Lab) -> None:
    ours = (made.url, made.url.replace("http", "ws", 1), "data:", "blob:")
    made.page.on("request", lambda one: one.url.startswith(ours) or made.outside.append(one.url))
    made.page.on("websocket", lambda one: one.url.startswith(ours) or made.outside.append(one.url))
    made.page.on("console", lambda one: one.type == "error" and made.errors.append(one.text))
    made.page.on("pageerror", lambda one: str(one) == RACE or made.errors.append(str(one)))


@contextmanager
def server(base: Path):
    """Start a Jupyter server."""
    chromium = servers.program("chromium")
    token, port = "tests", _free_port()
    for name in ("notebooks", "run"):
        (base / name).mkdir()
    notices = base / "settings" / "@jupyterlab" / "apputils-extension"
    notices.mkdir(parents=True)
    (notices / "notification.jupyterlab-settings").write_text(json.dumps(SETTINGS), encoding="utf-8")
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "run",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    environment = os.environ | {name: str(base / folder) for name, folder in places.items()}
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--expose-app-in-browser"),
        *(f"--ServerApp.root_dir={base / 'notebooks'}", "--LabApp.extension_manager=readonly"),
        "--JupyterNotebookApp.expose_app_in_browser=True",
    ]
    url = f"http://127.0.0.1:{port}"
    with _running(command, environment, f"{url}/api/status?token={token}", base / "server.log"):
        yield Server(url, token, base, chromium)


@contextmanager
def _running(command: list[str], environment: dict[str, str], ready: str, log: Path):
    """Run a server, from when it answers."""
    with (
        log.open("wb") as told,
        subprocess.Popen(  # noqa: S603 - our own server
            command, env=environment, stdout=told, stderr=told
        ) as process,
    ):
        try:
            _wait(ready, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(ready: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        with suppress(OSError):
            urllib.request.urlopen(ready, timeout=2).close()  # noqa: S310
            return
        assert process.poll() is None, log.read_text("utf-8")[-3000:]
        time.sleep(0.1)
    raise TimeoutError(log.read_text("utf-8")[-3000:])


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]

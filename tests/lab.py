"""JupyterLab in a browser: a server on a folder of notebooks, and what a person does first."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

ANSWER_MS = 30_000
FIRST_RUN_MS = 180_000  # imports torch, embeds the sample video


def find_browser() -> str | None:
    """A Chromium of the system; None for the one that Playwright installed, if it did."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@contextmanager
def running_lab(folder: Path) -> Iterator[str]:
    """Give the address of a JupyterLab on this folder, with a store and settings of its own in it."""
    settings = folder / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"fetchNews": "false"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "RUNTIME")}
    own |= {
        "VIDEOLIB_DATA_DIR": str(folder),
        "VIDEOLIB_MODEL_DIR": str(folder),
        "JUPYTERLAB_SETTINGS_DIR": str(folder),
        "SINGLESTOREDB_URL": "",  # notebook 05 has to stop
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=x", f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0"]
    command += ["--LabApp.expose_app_in_browser=True"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | own, cwd=folder, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api?token=x").close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def open_notebook(browser: Browser, lab: str, name: str) -> Page:
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(ANSWER_MS)
    page.goto(f"{lab}/lab/workspaces/{Path(name).stem}/tree/{name}?token=x")  # without the others' tabs
    page.locator(".jp-Notebook").wait_for()
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.ready")
    return page


def run_all(page: Page) -> None:
    """Run the cells by the menu, and wait until the last has run or one has failed."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    states = "window.jupyterapp.shell.currentWidget.content.widgets.map(each => each.model.executionState)"
    page.wait_for_function(f"() => {states}.includes('running')")
    page.wait_for_function(f"() => !{states}.includes('running')", timeout=FIRST_RUN_MS)

"""Judges the page of a Metaflow UI in a real browser, and keeps a picture of all it looked at."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from packaging.version import Version

from harness.core.outcome import CheckOutcome, Status
from harness.machine.errors import InfraError
from harness.machine.processes import ManagedProcess, tail_note
from harness.machine.tools import tool_python
from harness.proof.ui.acceptance import no_card, no_graph, reported_version
from harness.proof.ui.checks import PAGE_CHECKS as CHECKS
from harness.proof.ui.sample import CLIENT_TAG
from harness.proof.ui.sample_run import SampleRun

REQUIREMENTS = ("selenium>=4.20,<5",)
"""What harness/proof/ui/browser.py needs, in a tool environment of its own."""

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"

SECONDS = 40.0
"""How long a page may take to show what it should; at half of it, it is opened anew."""

NO_BROWSER = "no Chromium and driver on this machine"

_BROWSER = Path(__file__).with_name("browser.py")
_START_SECONDS = 60.0
_MOST_STEPS = 12
"""A page draws only what fits on it: of a long flow these many steps are looked for."""


@dataclass(frozen=True)
class _Visit:
    """A page to open, and what must be seen on it (see harness/proof/ui/browser.py)."""

    check: str
    url: str
    picture: str
    link: str = ""
    lines: tuple[str, ...] = ()
    text: str = ""
    frame: str = ""


def find_browser() -> tuple[str, str] | None:
    """Return the paths of a Chromium and its driver, or None when one of them is not installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    driver = shutil.which(DRIVER)
    return (program, driver) if program and driver else None


def look(
    page: str,
    api: str,
    runs: Sequence[SampleRun],
    folder: Path,
    *,
    seconds: float = SECONDS,
    mark: str = "browser",
) -> tuple[dict[str, CheckOutcome], ...]:
    """Open the list of runs, and of each run timeline, graph, log and card, as a person would.

    Args:
        page: address of the page, no final slash.
        api: base address of the UI backend's API; its version decides what can be asked.
        runs: of the database it is deployed over.
        folder: where the pictures go, one for each page that was opened; it is made.
        seconds: how long a page may take to show what it should.
        mark: what the browser's processes belong to.

    Returns:
        For each run the outcome of each of CHECKS: ``unsupported`` where run or UI have not what
        it asks for, and all of them where no browser is installed.

    Raises:
        InfraError: when the backend cannot be reached, or the browser breaks.
    """
    found = find_browser()
    if found is None:
        outcome = CheckOutcome(Status.UNSUPPORTED, NO_BROWSER)
        return tuple(dict.fromkeys(CHECKS, outcome) for _ in runs)
    version = reported_version(api)
    folder.mkdir(parents=True, exist_ok=True)
    plans = [_plan(page, run, version, folder) for run in runs]
    visits = [step for plan in plans for step in plan.values() if isinstance(step, _Visit)]
    seen = dict(zip(visits, _browse(visits, found, seconds, mark), strict=True))
    return tuple(
        {
            check: step if isinstance(step, CheckOutcome) else _outcome(step, seen[step])
            for check, step in plan.items()
        }
        for plan in plans
    )


def taken(run: SampleRun, folder: Path) -> dict[str, Path]:
    """Return the pictures that ``look`` took of a run, by the check they belong to."""
    paths = {check: _picture(run, check, folder) for check in CHECKS}
    return {check: path for check, path in paths.items() if path.exists()}


def _outcome(visit: _Visit, fault: str) -> CheckOutcome:
    if not fault:
        return CheckOutcome(Status.PASS)
    return CheckOutcome(Status.FAIL, f"{visit.url} {fault}; see {visit.picture}")


def _plan(
    page: str, run: SampleRun, version: Version, folder: Path
) -> dict[str, _Visit | CheckOutcome]:
    """Return for each check the page to visit, or why it cannot be asked."""
    path = f"/{quote(run.flow, safe='')}/{quote(run.run, safe='')}"
    word = (run.status.capitalize(),) if run.status else ()
    steps = tuple(step.name for step in run.steps[:_MOST_STEPS])

    def visit(check: str, where: str, **wanted: object) -> _Visit:
        # Made also of a page that is right: a person can see what the check saw.
        picture = str(_picture(run, check, folder))
        return _Visit(check, f"{page}{where}", picture, **wanted)  # type: ignore[arg-type]

    log, card = run.log, run.card
    plan: dict[str, _Visit | CheckOutcome | str] = {
        "page_list": visit("page_list", f"/?{_list_query(run)}", link=path),
        "page_timeline": visit("page_timeline", f"{path}/view/timeline", lines=word + steps),
        "page_dag": no_graph(run, version) or visit("page_dag", f"{path}/view/dag", lines=steps),
        "page_log": "nobody knows what its tasks printed"
        if log is None or not log.line
        else visit("page_log", f"{path}/{log.step}/{quote(log.task, safe='')}", text=log.line),
        "page_card": no_card(run, version)
        or (
            visit("page_card", f"{path}/{card[0]}/{quote(card[1], safe='')}", frame="/cards/")
            if card
            else "the run has no card"
        ),
    }
    return {
        check: CheckOutcome(Status.UNSUPPORTED, step) if isinstance(step, str) else step
        for check, step in plan.items()
    }


def _list_query(run: SampleRun) -> str:
    """Return the filters under which the run is among the newest, and shown by its own status."""
    tags = [tag for tag in (run.tag, f"{CLIENT_TAG}{run.client}") if tag]
    query = {"flow_id": run.flow, "_tags": ",".join(dict.fromkeys(tags)), "_order": "-ts_epoch"}
    if run.status:
        query["status"] = run.status
    return urlencode(query)


def _picture(run: SampleRun, check: str, folder: Path) -> Path:
    """Return the file of a picture, whose name tells what it shows of whom."""
    words = f"{run.client}-{run.service}-{run.flow}-{run.run}-{check.removeprefix('page_')}"
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', words)}.png"


def _browse(
    visits: Sequence[_Visit], found: tuple[str, str], seconds: float, mark: str
) -> list[str]:
    """Make the visits in one browser; nothing of it is left running or on disk."""
    python = tool_python("browser", REQUIREMENTS)
    program, driver = found
    request = {
        "program": program,
        "driver": driver,
        "seconds": seconds,
        "visits": [asdict(visit) for visit in visits],
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        home = Path(name)
        request_file, answer_file = home / "request.json", home / "answer.json"
        request_file.write_text(json.dumps(request), encoding="utf-8")
        process = ManagedProcess(
            [str(python), str(_BROWSER), str(request_file), str(answer_file)],
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "LANG": "C.UTF-8",
                # Browser and driver keep what they need for a while in both of these.
                "HOME": name,
                "TMPDIR": name,
            },
            mark=f"{mark}-{uuid.uuid4().hex}",
            log=home / "browser.log",
            cwd=home,
        )
        try:
            # Visits keep their own time; this ends a browser that hangs.
            code = process.wait(_START_SECONDS + 2 * seconds * len(visits))
        finally:
            process.kill()
        if code != 0:
            how = "was not done in time" if code is None else f"ended with exit code {code}"
            raise InfraError(f"the browser {how}{tail_note(process.log)}")
        answers: list[str] = json.loads(answer_file.read_text(encoding="utf-8"))
        return answers

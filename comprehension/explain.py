"""Explanations: every stage of a kernel's compilation as text, and as a page of its own.

In: an artifact (named files).  Out: `Explanation`, which prints as text and shows as HTML in notebooks.
Invariant: nothing is computed here: what is shown is what the compiler wrote when it made the kernel.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comprehension.jit.launch_text import launch_text
from comprehension.jit.manifest import Manifest
from comprehension.jit.report import Report
from comprehension.kernel.certificate import Certificate

MANIFEST, CERTIFICATE, REPORT = "manifest.json", "certificate.json", "report.json"
_STAGE_FILE = re.compile(r"(\d\d)-([a-z-]+)\.(tc|txt|py)")
_TITLES = {
    "source": "The comprehension",
    "loops": "Loops: ranges inferred, types resolved",
    "scop": "Domains and accesses",
    "dependences": "Dependences that every schedule must keep",
    "schedule": "Schedule",
    "kernel-ir": "Kernel: the loop nest",
    "certificate": "Certificate",
    "kernel": "Generated source",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One stage's text."""

    file: str
    title: str
    text: str

    @property
    def stage(self) -> str:
        """Its name: the file's, without number and ending."""
        return self.file.partition("-")[2].rpartition(".")[0]


class Explanation(str):
    """All stages in order, as one text; `sections` has them one by one, and notebooks show a page."""

    __slots__ = ("name", "sections")
    name: str
    sections: tuple[Section, ...]

    def __new__(cls, name: str, sections: tuple[Section, ...]) -> Explanation:
        rule = "=" * 100
        parts = (f"{rule}\n{s.title}  [{s.file}]\n{rule}\n{s.text.rstrip()}\n" for s in sections)
        explanation = super().__new__(cls, "\n".join(parts))
        explanation.name, explanation.sections = name, sections
        return explanation

    def stage(self, stage: str) -> str:
        """The text of one stage, by its name (`"schedule"`) or its file's (`"40-schedule.txt"`).

        Raises KeyError, naming what there is.
        """
        return self.section(stage).text

    def section(self, stage: str) -> Section:
        """One stage, by its name or its file's; raises KeyError, naming what there is."""
        for section in self.sections:
            if stage in (section.stage, section.file):
                return section
        raise KeyError(f"no stage {stage!r}; there are {', '.join(s.stage for s in self.sections)}")

    def page(self) -> str:
        """The same as one HTML document: nothing is loaded from anywhere, no scripts."""
        title = html.escape(self.name)
        return f'<!doctype html>\n<meta charset="utf-8">\n<title>{title}</title>\n{self._repr_html_()}\n'

    def _repr_html_(self) -> str:
        parts = [
            f"<details{' open' if s.file.endswith('.py') else ''}><summary>{html.escape(s.title)}</summary>"
            f'<pre style="font-size:85%;overflow-x:auto">{html.escape(s.text)}</pre></details>'
            for s in self.sections
        ]
        return f"<div><h4>{html.escape(self.name)}</h4>{''.join(parts)}</div>"


def explanation_of(name: str, artifact: Mapping[str, bytes]) -> Explanation:
    """The stages among an artifact's files, and last what a launch does.

    >>> print(explanation_of("f", {"00-source.tc": b"def f", "kernel.o": b""}).sections[0].title)
    The comprehension
    """
    sections = []
    for file in sorted(artifact):
        if match := _STAGE_FILE.fullmatch(file):
            title = _TITLES.get(match.group(2), match.group(2).replace("-", " ").capitalize())
            sections.append(Section(file, title, artifact[file].decode()))
    if {MANIFEST, CERTIFICATE, REPORT} <= artifact.keys():
        text = launch_text(
            Manifest.from_json(artifact[MANIFEST].decode()),
            Certificate.from_json(artifact[CERTIFICATE].decode()),
            Report.from_json(artifact[REPORT].decode()),
        )
        sections.append(Section("80-launch.txt", "A launch: what is run, checked and counted", text))
    return Explanation(name, tuple(sections))


def write_dump(folder: Path, name: str, key: str, file: str, text: str) -> None:
    """Writes one stage's text under `folder/<name>-<key>/` (`COMPREHENSION_DUMP`)."""
    place = folder / f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}-{key[:12]}"
    place.mkdir(parents=True, exist_ok=True)
    (place / file).write_text(text)

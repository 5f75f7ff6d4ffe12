"""Explanations: every stage of a kernel's compilation as text, and as a page of its own.

In: an artifact (named files).  Out: `Explanation`, which prints as text and shows as HTML in notebooks.
Invariant: nothing is computed here: what is shown is what the compiler wrote when it made the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comprehension.jit.manifest import Manifest
from comprehension.jit.report import Report
from comprehension.kernel.certificate import Certificate

if TYPE_CHECKING:
    from comprehension.kernel.portrait import Portrait

MANIFEST, CERTIFICATE, REPORT, PORTRAIT = "manifest.json", "certificate.json", "report.json", "portrait.json"
_STAGE_FILE = re.compile(r"(\d\d)-([a-z-]+)\.(tc|txt|py)")
_TITLES = {
    "source": "The comprehension",
    "loops": "Loops: ranges inferred, types resolved",
    "joined-loops": "Loops, those that count as one joined",
    "scop": "Domains and accesses",
    "dependences": "Dependences that every schedule must keep",
    "schedule": "Schedule",
    "kernel-ir": "Kernel: the loop nest",
    "mapped-ir": "Kernel: the loop nest on a grid of threads",
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
    """All stages in order, as one text; `sections` has them one by one, and notebooks show a page with pictures.

    `heading` says which kernel; `portrait` is what the pictures show (None where the compiler wrote none).
    """

    __slots__ = ("certificate", "heading", "name", "portrait", "sections")
    name: str
    heading: str
    sections: tuple[Section, ...]
    portrait: Portrait | None
    certificate: Certificate | None

    def __new__(
        cls,
        name: str,
        sections: tuple[Section, ...],
        portrait: Portrait | None = None,
        certificate: Certificate | None = None,
        heading: str = "",
    ) -> Explanation:
        rule = "=" * 100
        parts = (f"{rule}\n{s.title}  [{s.file}]\n{rule}\n{s.text.rstrip()}\n" for s in sections)
        explanation = super().__new__(cls, "\n".join(parts))
        explanation.name, explanation.sections, explanation.heading = name, sections, heading or name
        explanation.portrait, explanation.certificate = portrait, certificate
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
        """The same as one HTML document, with pictures: nothing is loaded from anywhere, no scripts."""
        from comprehension.drawing.html import document  # pages are rare, and a program that only computes stays small

        return document(self.heading, self._repr_html_())

    def _repr_html_(self) -> str:
        from comprehension.page import kernel_fragment

        return kernel_fragment(self)


def explanation_of(name: str, artifact: Mapping[str, bytes], heading: str = "") -> Explanation:
    """The stages among an artifact's files, and last what a launch does.

    >>> print(explanation_of("f", {"00-source.tc": b"def f", "kernel.o": b""}).sections[0].title)
    The comprehension
    """
    from comprehension.jit.launch_text import launch_text  # kernels import this module, and most explain nothing
    from comprehension.kernel.portrait import Portrait

    sections = []
    for file in sorted(artifact):
        match = _STAGE_FILE.fullmatch(file)
        if match and artifact[file].strip():  # a stage that changed nothing says nothing
            title = _TITLES.get(match.group(2), match.group(2).replace("-", " ").capitalize())
            sections.append(Section(file, title, artifact[file].decode()))
    certificate = Certificate.from_json(artifact[CERTIFICATE].decode()) if CERTIFICATE in artifact else None
    portrait = Portrait.from_json(artifact[PORTRAIT].decode()) if PORTRAIT in artifact else None
    if certificate is not None and {MANIFEST, REPORT} <= artifact.keys():
        manifest = Manifest.from_json(artifact[MANIFEST].decode())
        text = launch_text(manifest, certificate, Report.from_json(artifact[REPORT].decode()))
        sections.append(Section("80-launch.txt", "A launch: what is run, checked and counted", text))
    return Explanation(name, tuple(sections), portrait, certificate, heading)


def write_dump(folder: Path, name: str, key: str, file: str, text: str) -> None:
    """Writes one stage's text under `folder/<name>-<key>/` (`COMPREHENSION_DUMP`)."""
    place = folder / f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}-{key[:12]}"
    place.mkdir(parents=True, exist_ok=True)
    (place / file).write_text(text)

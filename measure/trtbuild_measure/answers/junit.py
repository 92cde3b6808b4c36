"""JUnit's XML of a check: a test for each prompt.

Format: https://github.com/testmoapp/junitxml
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from trtbuild_measure.answers.golden import Verdict

# What XML 1.0 cannot contain, not even escaped.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(verdicts: Sequence[Verdict], describe: Sequence[str]) -> str:
    """Return the report; regressions are failures, and ``describe`` is a sentence for each."""
    failures = str(sum(one.failed for one in verdicts))
    root = ET.Element("testsuites", name="trtbuild eval golden check")
    suite = ET.SubElement(root, "testsuite", name="golden")
    for element in (root, suite):
        element.set("tests", str(len(verdicts)))
        element.set("failures", failures)
    for verdict, said in zip(verdicts, describe, strict=True):
        name = _UNWRITABLE.sub("\ufffd", verdict.id)
        case = ET.SubElement(suite, "testcase", name=name, classname="golden")
        text = _UNWRITABLE.sub("\ufffd", said)
        if verdict.failed:
            ET.SubElement(case, "failure", type=verdict.outcome.value, message=text).text = text
        elif text:
            ET.SubElement(case, "system-out").text = text
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)
